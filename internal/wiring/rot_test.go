package wiring

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// pushTo makes an image of one layer in a registry and gives the layer's digest.
func pushTo(t *testing.T, url, repository, content string) oci.Digest {
	t.Helper()
	send := func(method, to, mediaType, body string) string {
		q, err := http.NewRequest(method, to, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", mediaType)
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if a.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s", method, to, a.Status)
		}
		return a.Header.Get("Location")
	}
	d := oci.SHA256([]byte(content))
	for _, blob := range []string{content, "{}"} {
		send("POST", fmt.Sprintf("%s/v2/%s/blobs/uploads/?digest=%s", url, repository, oci.SHA256([]byte(blob))), "", blob)
	}
	send("PUT", url+"/v2/"+repository+"/manifests/v1", "application/vnd.oci.image.manifest.v1+json",
		fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"x/z","digest":%q,"size":%d}]}`,
			oci.SHA256([]byte("{}")), d, len(content)))
	return d
}

// serve serves an installation of its own until the test ends, or until the
// caller closes it.
func serve(t *testing.T, c ServeConfig) (*Services, Installation) {
	t.Helper()
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.RegistryListen, c.BrokerListen = "127.0.0.1:0", "127.0.0.1:0"
	s, err := i.Serve(ring, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, i
}

func fetched(t *testing.T, url string) (int, string) {
	t.Helper()
	a, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

// Nobody asks the registry: that the gateway met wrong bytes is enough.
func TestABlockThatRottedComesBackFromAnUpstream(t *testing.T) {
	far, _ := serve(t, ServeConfig{})
	d := pushTo(t, far.RegistryURL(), "hello", "the bytes of a layer")
	list := filepath.Join(t.TempDir(), "upstreams.yaml")
	if err := os.WriteFile(list, fmt.Appendf(nil, "upstreams:\n  - prefix: far\n    url: %s\n", far.RegistryURL()), 0o600); err != nil {
		t.Fatal(err)
	}
	here, i := serve(t, ServeConfig{Gateway: GatewayConfig{Listen: "127.0.0.1:0"}, Upstreams: &UpstreamConfig{File: list}})
	if status, _ := fetched(t, here.RegistryURL()+"/v2/far/hello/blobs/"+string(d)); status != http.StatusOK {
		t.Fatal(status)
	}
	path := filepath.Join(i.Registry(), pool.Dir, "sha256", d.Hex())
	if err := os.WriteFile(path, []byte("the bytes of a lawyer"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := ipfs.DigestCID(d)
	if err != nil {
		t.Fatal(err)
	}
	block := here.GatewayURL() + "/ipfs/" + c.String() + "?format=raw"
	if status, got := fetched(t, block); status != http.StatusNotFound || strings.Contains(got, "lawyer") {
		t.Errorf("got %d %q", status, got)
	}
	for range 500 {
		if status, got := fetched(t, block); status == http.StatusOK {
			if got != "the bytes of a layer" {
				t.Errorf("got %q", got)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("it did not come back")
}
