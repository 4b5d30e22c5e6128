package story

import (
	"crypto/rand"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// A road leads to the registry. It counts the bytes that pass, both ways, and
// may be closed behind so many: then whoever is on it waits.
type road struct {
	moved, most atomic.Int64
	stopped     atomic.Bool
}

type roadKey struct{} // of a *road

const open = 1 << 40

func (r *road) serve(l net.Listener, to string) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			_ = near.Close()
			continue
		}
		go r.carry(near, far)
		go r.carry(far, near)
	}
}

func (r *road) carry(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if r.moved.Add(int64(n)) > r.most.Load() {
			r.stopped.Store(true)
			_, _ = io.Copy(io.Discard, from) // until whoever waits there is gone
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// holdup BYTES closes the road at $SLOW behind so many bytes; holdup none opens
// it. Both count from nothing.
func holdup(ts *testscript.TestScript, _ bool, args []string) {
	r := ts.Value(roadKey{}).(*road)
	most := int64(open)
	if len(args) != 1 {
		ts.Fatalf("usage: holdup BYTES|none")
	}
	if args[0] != "none" {
		n, err := strconv.ParseInt(args[0], 10, 64)
		ts.Check(err)
		most = n
	}
	r.moved.Store(0)
	r.stopped.Store(false)
	r.most.Store(most)
}

// held waits until somebody is held up, and has taken what passed: what the
// kernel still has of it comes again when who waits for it is killed.
func held(ts *testscript.TestScript, _ bool, _ []string) {
	r := ts.Value(roadKey{}).(*road)
	for deadline := time.Now().Add(patience); !r.stopped.Load(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("nobody came so far: %d bytes", r.moved.Load())
		}
	}
	time.Sleep(time.Second)
}

// moved MIN MAX wants that so many bytes passed since the last holdup.
func moved(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: moved MIN MAX")
	}
	least, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	most, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	if n := ts.Value(roadKey{}).(*road).moved.Load(); n < least || n > most {
		ts.Fatalf("moved: got %d bytes, want %d to %d", n, least, most)
	}
}

// noise LAYOUT BYTES makes an image with a layer that does not compress.
func noise(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: noise LAYOUT BYTES")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	random := make([]byte, size)
	_, _ = rand.Read(random)
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(random, types.OCIUncompressedLayer))
	ts.Check(err)
	config, err := img.ConfigFile()
	ts.Check(err)
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(mutate.MediaType(mutate.ConfigMediaType(img, types.OCIConfigJSON), types.OCIManifestSchema1), config)
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
	path, err := layout.Write(ts.MkAbs(args[0]), empty.Index)
	ts.Check(err)
	ts.Check(path.AppendImage(img))
}
