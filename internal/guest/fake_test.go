package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

// A shelf is a registry that serves whatever was put on it, right or wrong.
type shelf struct {
	*httptest.Server
	content   map[oci.Digest][]byte                                  // and by tag
	referrers map[oci.Digest][]byte                                  // lists
	answer    func(w http.ResponseWriter, r *http.Request, b []byte) // instead of all of b
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{content: map[oci.Digest][]byte{}, referrers: map[oci.Digest][]byte{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := s.content
		if strings.Contains(r.URL.Path, "/referrers/") {
			from = s.referrers
		}
		b, ok := from[oci.Digest(path.Base(r.URL.Path))]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if s.answer != nil {
			s.answer(w, r, b)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shelf) put(b []byte) oci.Digest {
	d := oci.SHA256(b)
	s.content[d] = b
	return d
}

func (s *shelf) putJSON(t *testing.T, v any) v1.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{Digest: digest.Digest(s.put(b)), Size: int64(len(b))}
}

func (s *shelf) putLayer(mediaType string, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.Digest(s.put(b)), Size: int64(len(b))}
}

// putImage returns the name of an image of the layers.
func (s *shelf) putImage(t *testing.T, layers ...v1.Descriptor) string {
	t.Helper()
	config := s.putJSON(t, v1.Image{Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH}})
	m := s.putJSON(t, v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: layers})
	return "registry.example:5000/team/app@" + string(m.Digest)
}

// A fakeBroker holds resources and gives them to anybody.
type fakeBroker map[string][]byte

func (fakeBroker) Attest(context.Context) error { return nil }
func (fakeBroker) Close()                       {}
func (b fakeBroker) Resource(_ context.Context, uri string) ([]byte, error) {
	if r, ok := b[uri]; ok {
		return r, nil
	}
	return nil, os.ErrNotExist
}

// pull does what a guest does up to the container's root, and says where that
// has to be.
func (s *shelf) pull(t *testing.T, name string, b Broker) (rootfs string, err error) {
	t.Helper()
	c := Config{Broker: b, Backoff: time.Millisecond, HTTP: s.Client(), Dir: t.TempDir(), Guest: api.GuestConfig{Image: name, Registry: api.Endpoint{URL: s.URL}}}
	_, err = Pull(t.Context(), c)
	return filepath.Join(c.Dir, "rootfs"), err
}

var epoch = time.Unix(1700000000, 0)

// archive makes a tar of entries; a file's content is its Linkname.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag, content, h.Linkname = tar.TypeReg, h.Linkname, ""
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.Size, h.ModTime, h.Format = int64(len(content)), epoch, tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

const keyName = "kbs:///default/key/app"

// encrypted is a layer whose key is wrapped by the broker resource keyName.
func encrypted(t *testing.T, plain, kek []byte) (ciphertext []byte, annotations map[string]string) {
	t.Helper()
	e, err := enc.Encrypt(bytes.NewReader(plain), enc.Config{Recipients: []enc.Recipient{enc.BrokerRecipient(keyName, kek)}})
	if err != nil {
		t.Fatal(err)
	}
	if ciphertext, err = io.ReadAll(e); err != nil {
		t.Fatal(err)
	}
	if annotations, err = e.Annotations(); err != nil {
		t.Fatal(err)
	}
	return ciphertext, annotations
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("gives files to other users: run as root")
	}
}
