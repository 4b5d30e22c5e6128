package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

const (
	plainLayer = v1.MediaTypeImageLayer
	gzipLayer  = v1.MediaTypeImageLayerGzip
	zstdLayer  = v1.MediaTypeImageLayerZstd
)

func TestLayersOfEveryKindAreUnpacked(t *testing.T) {
	needRoot(t)
	s, kek := newShelf(t), bytes.Repeat([]byte{7}, 32)
	secret, annotations := encrypted(t, zstandard(t, archive(t, tar.Header{Name: "secret", Linkname: "s"})), kek)
	sealed := s.putLayer(zstdLayer+enc.Suffix, secret)
	sealed.Annotations = annotations
	name := s.putImage(t,
		s.putLayer(plainLayer, archive(t, tar.Header{Name: "plain", Linkname: "p"})),
		s.putLayer(gzipLayer, gzipped(t, archive(t, tar.Header{Name: "gzip", Linkname: "g"}))),
		s.putLayer("application/vnd.docker.image.rootfs.diff.tar.gzip", gzipped(t, archive(t, tar.Header{Name: "docker", Linkname: "d"}))),
		s.putLayer(zstdLayer, zstandard(t, archive(t, tar.Header{Name: "zstd", Linkname: "z"}))),
		sealed)
	rootfs, err := s.pull(t, name, fakeBroker{keyName: kek})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"plain", "gzip", "docker", "zstd", "secret"} {
		if b, err := os.ReadFile(filepath.Join(rootfs, file)); err != nil || string(b) != file[:1] {
			t.Errorf("%s: got %q, %v", file, b, err)
		}
	}
}

// refused checks that pulling fails with want in its words and that nothing
// took the place of the container's root.
func refused(t *testing.T, s *shelf, name string, b Broker, want string) error {
	t.Helper()
	rootfs, err := s.pull(t, name, b)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if _, err := os.Stat(rootfs); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: there is a root: %v", want, err)
	}
	return err
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestEveryFlippedByteOfALayerIsRefusedByDigest(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	layer := gzipped(t, archive(t, tar.Header{Name: "a", Linkname: strings.Repeat("content", 20)}))
	d := s.putLayer(gzipLayer, layer)
	name := s.putImage(t, s.putLayer(plainLayer, archive(t)), d)
	for at := range layer {
		s.content[oci.Digest(d.Digest)] = flip(layer, at)
		err := refused(t, s, name, nil, "layer 2 of 2 (sha256:")
		var altered *DigestError
		if !errors.As(err, &altered) {
			t.Errorf("byte %d: got %v, want a DigestError", at, err)
		}
	}
}

// The registry's operator may change a manifest too, but then it is not the
// one that the configuration pins; an image made wrong from the start is what
// remains for the MAC.
func TestEveryFlippedByteOfACiphertextIsRefusedByMAC(t *testing.T) {
	needRoot(t)
	s, kek := newShelf(t), bytes.Repeat([]byte{7}, 32)
	secret, annotations := encrypted(t, gzipped(t, archive(t, tar.Header{Name: "a", Linkname: "secret"})), kek)
	for at := range secret {
		d := s.putLayer(gzipLayer+enc.Suffix, flip(secret, at))
		d.Annotations = annotations
		if err := refused(t, s, s.putImage(t, d), fakeBroker{keyName: kek}, "layer 1 of 1"); !errors.Is(err, enc.ErrMAC) {
			t.Errorf("byte %d: got %v, want ErrMAC", at, err)
		}
	}
}

func TestShortenedLengthenedAndMissingAreRefused(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	layer := archive(t, tar.Header{Name: "a", Linkname: "x"})
	d := s.putLayer(plainLayer, layer)
	name := s.putImage(t, d)
	for want, content := range map[string][]byte{
		"1024 bytes are missing":              layer[:len(layer)-1024],
		"it is longer than the manifest says": append(bytes.Clone(layer), 0),
	} {
		s.content[oci.Digest(d.Digest)] = content
		_ = refused(t, s, name, nil, want)
	}
	delete(s.content, oci.Digest(d.Digest))
	_ = refused(t, s, name, nil, "404 Not Found")
}

func TestAlteredManifestAndConfigAreRefused(t *testing.T) {
	s := newShelf(t)
	name := s.putImage(t, s.putLayer(plainLayer, archive(t)))
	for d, b := range s.content {
		s.content[d] = append(bytes.Clone(b), ' ')
		if bytes.HasPrefix(b, []byte("{")) {
			_ = refused(t, s, name, nil, "expected "+string(d))
		}
		s.content[d] = b
	}
}

func TestEncryptedImageNeedsTheBrokersKey(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	secret, annotations := encrypted(t, archive(t), bytes.Repeat([]byte{7}, 32))
	d := s.putLayer(plainLayer+enc.Suffix, secret)
	d.Annotations = annotations
	name := s.putImage(t, d)
	_ = refused(t, s, name, nil, "no broker to ask for the key")
	_ = refused(t, s, name, fakeBroker{}, "fetch "+keyName)
	_ = refused(t, s, name, fakeBroker{keyName: bytes.Repeat([]byte{8}, 32)}, "does not open the layer key")
}

func TestIndexLeadsToThisMachinesManifest(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	name := s.putImage(t, s.putLayer(plainLayer, archive(t, tar.Header{Name: "here"})))
	_, pinned, _ := strings.Cut(name, "@")
	platform := func(arch string) v1.Descriptor {
		return v1.Descriptor{Digest: digest.Digest(pinned), Platform: &v1.Platform{OS: "linux", Architecture: arch}}
	}
	index := s.putJSON(t, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{platform(runtime.GOARCH)}})
	rootfs, err := s.pull(t, "r/app@"+string(index.Digest), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(rootfs, "here")); err != nil {
		t.Error(err)
	}
	other := s.putJSON(t, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{platform("s390x")}})
	_ = refused(t, s, "r/app@"+string(other.Digest), nil, "no manifest for linux/")
}

func TestRegistryMayNotRedirect(t *testing.T) {
	s := newShelf(t)
	s.Config.Handler = http.RedirectHandler("https://elsewhere.example/", http.StatusFound)
	_, err := s.pull(t, "r/app@sha256:"+strings.Repeat("0", 64), nil)
	if err == nil || !strings.Contains(err.Error(), "redirects to elsewhere.example") {
		t.Errorf("got %v", err)
	}
}

func TestNameHasToBePinnedOrSigned(t *testing.T) {
	pin := "@sha256:" + strings.Repeat("0", 64)
	const anything, reject = `{"default": [{"type": "insecureAcceptAnything"}]}`, `{"default": [{"type": "reject"}]}`
	for _, c := range []struct {
		name, policy string
		good         bool
	}{
		{"10.0.2.2:5000/a/b-c_d" + pin, "", true}, {"r/app:latest" + pin, "", true}, {"r/app" + pin, anything, true}, {"r/app:latest", reject, true},
		{"r/app:latest", "", false}, {"r/app:latest", anything, false}, {"r/app", reject, false}, {"r/app" + pin, "{}", false},
		{"", "", false}, {"app" + pin, "", false}, {"r/../app" + pin, "", false}, {"r/App" + pin, "", false}, {"r/app?x" + pin, "", false},
		{"r/app" + pin[:70], "", false}, {"r/app@sha512:" + strings.Repeat("0", 128), "", false},
	} {
		g := api.GuestConfig{Image: c.name, Policy: c.policy, Registry: api.Endpoint{URL: "https://r:5000"}}
		if _, err := newRegistry(g, http.DefaultClient, 0); (err == nil) != c.good {
			t.Errorf("%q with %q: got %v", c.name, c.policy, err)
		}
	}
}

func TestOnlyHTTPSIsSpoken(t *testing.T) {
	for _, endpoint := range []string{"", "http://r:5000", "https://", "r:5000"} {
		g := api.GuestConfig{Image: "r/app@sha256:" + strings.Repeat("0", 64), Registry: api.Endpoint{URL: endpoint}}
		if _, err := newRegistry(g, http.DefaultClient, 0); err == nil {
			t.Errorf("%q was accepted", endpoint)
		}
	}
}

func TestLayerThatUnpacksToMoreThanThereIsRoomForIsRefused(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	name := s.putImage(t, s.putLayer(zstdLayer, zstandard(t, archive(t, tar.Header{Name: "a", Linkname: strings.Repeat("0", 3<<20)}))))
	c := Config{HTTP: s.Client(), Dir: t.TempDir(), Space: 2 << 20, Guest: api.GuestConfig{Image: name, Registry: api.Endpoint{URL: s.URL}}}
	_, err := Pull(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "unpacks to more than the 2097152 bytes") {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want an empty folder", left, err)
	}
	c.Space, c.Dir = 4<<20, t.TempDir()
	if _, err := Pull(t.Context(), c); err != nil {
		t.Errorf("with room: %v", err)
	}
}

// counting tells how often a key was asked for.
type counting struct {
	fakeBroker
	asked *int
}

func (c counting) Resource(ctx context.Context, uri string) ([]byte, error) {
	*c.asked++
	return c.fakeBroker.Resource(ctx, uri)
}

func TestLayersWithOneKeyAskForItOnce(t *testing.T) {
	needRoot(t)
	s, kek, asked := newShelf(t), bytes.Repeat([]byte{7}, 32), 0
	var layers []v1.Descriptor
	for _, name := range []string{"a", "b", "c"} {
		secret, annotations := encrypted(t, zstandard(t, archive(t, tar.Header{Name: name, Linkname: name})), kek)
		d := s.putLayer(zstdLayer+enc.Suffix, secret)
		d.Annotations = annotations
		layers = append(layers, d)
	}
	if _, err := s.pull(t, s.putImage(t, layers...), counting{fakeBroker{keyName: kek}, &asked}); err != nil {
		t.Fatal(err)
	}
	if asked != 1 {
		t.Errorf("the broker was asked %d times for one key", asked)
	}
}
