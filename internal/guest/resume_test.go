package guest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A breaker is a registry whose answers break off behind so many bytes each.
type breaker struct {
	most  int64
	sent  atomic.Int64
	tries atomic.Int64
}

func (k *breaker) answer(w http.ResponseWriter, r *http.Request, b []byte) {
	k.tries.Add(1)
	http.ServeContent(&breaking{w, k, k.most}, r, "", time.Time{}, bytes.NewReader(b))
}

type breaking struct {
	http.ResponseWriter
	k    *breaker
	left int64
}

func (b *breaking) Write(p []byte) (int, error) {
	n, _ := b.ResponseWriter.Write(p[:min(int64(len(p)), b.left)])
	b.k.sent.Add(int64(n))
	if b.left -= int64(n); b.left == 0 {
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

// noise is a file that does not compress.
func noise(size int) tar.Header {
	random, b := rand.NewChaCha8([32]byte{}), make([]byte, size)
	_, _ = random.Read(b)
	return tar.Header{Name: "noise", Linkname: string(b)}
}

func TestABrokenOffLayerGoesOnWhereItBroke(t *testing.T) {
	needRoot(t)
	plain := archive(t, noise(5<<20))
	kek := bytes.Repeat([]byte{7}, 32)
	cipher, annotations := encrypted(t, plain, kek)
	for name, layer := range map[string]v1.Descriptor{
		"plain":     {MediaType: plainLayer},
		"encrypted": {MediaType: plainLayer + "+encrypted", Annotations: annotations},
	} {
		s, k := newShelf(t), &breaker{most: 1 << 20}
		content := plain
		if layer.Annotations != nil {
			content = cipher
		}
		put := s.putLayer(layer.MediaType, content)
		put.Annotations = layer.Annotations
		image := s.putImage(t, put)
		s.answer = k.answer
		rootfs, err := s.pull(t, image, fakeBroker{keyName: kek})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, err := os.Stat(filepath.Join(rootfs, "noise")); err != nil || info.Size() != 5<<20 {
			t.Errorf("%s: got %v, %v", name, info, err)
		}
		if sent, most := k.sent.Load(), int64(len(content))+64<<10; sent > most || k.tries.Load() < 6 {
			t.Errorf("%s: got %d bytes in %d answers, want at most %d: what came does not come again", name, sent, k.tries.Load(), most)
		}
	}
}

// Where answers are put together, each must be a piece of the one layer.
func TestAPieceOfSomethingElseIsRefused(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	content := archive(t, noise(2<<20))
	d := s.putLayer(plainLayer, content)
	image := s.putImage(t, d)
	other := flip(content, len(content)-1<<20)
	k := &breaker{most: 1 << 20}
	s.answer = func(w http.ResponseWriter, r *http.Request, b []byte) {
		if r.Header.Get("Range") != "" {
			b = other
		}
		k.answer(w, r, b)
	}
	_ = refused(t, s, image, nil, "altered in the registry or on the way")
}

func TestARegistryThatIsGoneIsNamed(t *testing.T) {
	needRoot(t)
	s := newShelf(t)
	d := s.putLayer(plainLayer, archive(t, noise(1<<20)))
	image := s.putImage(t, d)
	broken := &breaker{most: 1 << 19}
	var gone atomic.Bool
	s.answer = func(w http.ResponseWriter, r *http.Request, b []byte) {
		if gone.Load() {
			panic(http.ErrAbortHandler)
		}
		gone.Store(len(b) > 1<<19)
		broken.answer(w, r, b)
	}
	err := refused(t, s, image, nil, fmt.Sprintf("GET %s/v2/team/app/blobs/%s", s.URL, d.Digest))
	if !strings.Contains(err.Error(), "hung up") {
		t.Errorf("got %v", err)
	}
}
