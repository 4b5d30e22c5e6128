package swarm

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/oci"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// noise is bytes that only their seed tells.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// push puts an image of one layer into the node's registry, and gives its
// manifest's digest.
func (n *node) push(repository string, layer []byte) oci.Digest {
	n.Helper()
	config := []byte("{}")
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",`+
		`"digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		manifestType, oci.SHA256(config), len(config), oci.SHA256(layer), len(layer))
	for _, b := range [][]byte{config, layer} {
		n.want(http.StatusCreated, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+string(oci.SHA256(b)), "application/octet-stream", b)
	}
	d := oci.SHA256(manifest)
	n.want(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+string(d), manifestType, manifest)
	return d
}

// pull gets the image with this manifest, and checks every byte of it.
func (n *node) pull(repository string, d oci.Digest, layer []byte) error {
	manifest, err := n.get("/v2/"+repository+"/manifests/"+string(d), d)
	if err != nil {
		return err
	}
	if !strings.Contains(string(manifest), string(oci.SHA256(layer))) {
		return fmt.Errorf("manifest %s is of another image", d)
	}
	for _, b := range [][]byte{[]byte("{}"), layer} {
		if _, err := n.get("/v2/"+repository+"/blobs/"+string(oci.SHA256(b)), oci.SHA256(b)); err != nil {
			return err
		}
	}
	return nil
}

// pulls is pull once its peers are as quick as others want them to be.
func (n *node) pulls(repository string, d oci.Digest, layer []byte) {
	n.Helper()
	n.soon(2*time.Minute, "pulled", func() bool {
		err := n.pull(repository, d, layer)
		if err != nil {
			n.Log(err)
		}
		return err == nil
	})
}

func (n *node) get(path string, want oci.Digest) ([]byte, error) {
	status, body, err := n.do(http.MethodGet, path, "", nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %.300s", path, status, body)
	}
	if got := oci.SHA256(body); got != want {
		n.Errorf("%s: wrong bytes were served: %s", path, got)
	}
	return body, nil
}

func (n *node) want(status int, method, path, mediaType string, body []byte) {
	n.Helper()
	got, answer, err := n.do(method, path, mediaType, body)
	if err != nil || got != status {
		n.Fatalf("%s %s: got %d and %v, want %d: %s", method, path, got, err, status, answer)
	}
}

func (n *node) do(method, path, mediaType string, body []byte) (int, []byte, error) {
	q, err := http.NewRequest(method, n.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set("Content-Type", mediaType)
	q.Header.Set("Accept", manifestType)
	a, err := n.http.Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	answer, err := io.ReadAll(a.Body)
	return a.StatusCode, answer, err
}
