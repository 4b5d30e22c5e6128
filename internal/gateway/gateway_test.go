package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfs "github.com/ipfs/boxo/ipld/unixfs/io"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	car "github.com/ipld/go-car/v2"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

const hello = "hello, world\n"

// A site is a folder with a page, a text and a file of several blocks, over
// the blocks of a registry.
type site struct {
	blocks     blockstore.Blockstore
	pool       *pool.Pool // they are in
	root, text cid.Cid
	big        cid.Cid
	bytes      []byte // of big
}

func newSite(t testing.TB) *site {
	t.Helper()
	dir := t.TempDir()
	p, err := pool.New(filepath.Join(dir, pool.Dir))
	must(t, err)
	store, err := ipfs.New(ipfs.Config{Pool: p, Dir: filepath.Join(dir, ipfs.Dir)})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	s := &site{blocks: store, pool: p, bytes: bytes.Repeat([]byte("0123456789abcdef"), 3<<16)}
	s.bytes[0] = 'X'
	d, dag, err := store.Add(t.Context(), bytes.NewReader(s.bytes))
	must(t, err)
	if d != oci.SHA256(s.bytes) {
		t.Fatal(d)
	}
	s.big, s.text = dag.Root, s.file(t, store, hello)
	s.root = s.folder(t, store, map[string]cid.Cid{
		"hello.txt": s.text, "big": s.big, "sub": s.folder(t, store, map[string]cid.Cid{
			"index.html": s.file(t, store, "<html>a page</html>"),
		}),
	})
	return s
}

func (s *site) file(t testing.TB, store *ipfs.Store, content string) cid.Cid {
	t.Helper()
	_, dag, err := store.Add(t.Context(), strings.NewReader(content))
	must(t, err)
	return dag.Root
}

// folder makes a folder, as a blob that is one block.
func (s *site) folder(t testing.TB, store *ipfs.Store, entries map[string]cid.Cid) cid.Cid {
	t.Helper()
	service := merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
	folder, err := unixfs.NewDirectory(service, unixfs.WithCidBuilder(merkledag.V1CidPrefix()))
	must(t, err)
	for name, c := range entries {
		n, err := service.Get(t.Context(), c)
		must(t, err)
		must(t, folder.AddChild(t.Context(), name, n))
	}
	n, err := folder.GetNode()
	must(t, err)
	_, _, err = store.Add(t.Context(), bytes.NewReader(n.RawData()))
	must(t, err)
	return n.Cid()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) handler(t testing.TB, c Config) http.Handler {
	t.Helper()
	if c.Blocks == nil {
		c.Blocks = s.blocks
	}
	h, err := New(c)
	must(t, err)
	return h
}

// get asks for a path; headers are pairs.
func get(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	q := httptest.NewRequest(method, path, nil)
	q.Host = "127.0.0.1:8081"
	for pair := range slices.Chunk(headers, 2) {
		if pair[0] == "Host" {
			q.Host = pair[1]
		}
		q.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w
}

func status(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("status is %d, want %d: %.200s", w.Code, want, w.Body)
	}
}

func header(t *testing.T, w *httptest.ResponseRecorder, name, want string) {
	t.Helper()
	if got := w.Header().Get(name); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func TestFileIsGivenByPath(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	w := get(h, "GET", "/ipfs/"+s.root.String()+"/hello.txt")
	status(t, w, 200)
	header(t, w, "Content-Type", "text/plain; charset=utf-8")
	header(t, w, "Cache-Control", "public, max-age=29030400, immutable")
	header(t, w, "X-Ipfs-Roots", s.root.String()+","+s.text.String())
	if w.Body.String() != hello {
		t.Errorf("got %q", w.Body)
	}
	etag := w.Header().Get("Etag")
	status(t, get(h, "GET", "/ipfs/"+s.root.String()+"/hello.txt", "If-None-Match", etag), 304)
	status(t, get(h, "GET", "/ipfs/"+s.root.String()+"/nothing"), 404)
	w = get(h, "HEAD", "/ipfs/"+s.big.String())
	status(t, w, 200)
	header(t, w, "Content-Length", "3145728")
}

func TestFolderIsListedAndItsPageIsShown(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	w := get(h, "GET", "/ipfs/"+s.root.String()+"/")
	status(t, w, 200)
	for _, name := range []string{"hello.txt", "big", "sub"} {
		if !strings.Contains(w.Body.String(), ">"+name+"<") {
			t.Errorf("the list has no %s", name)
		}
	}
	w = get(h, "GET", "/ipfs/"+s.root.String()+"/sub")
	status(t, w, 301)
	header(t, w, "Location", "/ipfs/"+s.root.String()+"/sub/")
	w = get(h, "GET", "/ipfs/"+s.root.String()+"/sub/")
	if w.Body.String() != "<html>a page</html>" {
		t.Errorf("got %.100q", w.Body)
	}
}

func TestRanges(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	for asked, want := range map[string][2]int{
		"bytes=0-0":               {0, 1},
		"bytes=1048570-1048580":   {1048570, 1048581}, // across two blocks
		"bytes=3145727-":          {3145727, 3145728},
		"bytes=-10":               {3145718, 3145728},
		"bytes=3145000-999999999": {3145000, 3145728},
	} {
		w := get(h, "GET", "/ipfs/"+s.big.String(), "Range", asked)
		status(t, w, 206)
		if !bytes.Equal(w.Body.Bytes(), s.bytes[want[0]:want[1]]) {
			t.Errorf("%s: got %d bytes, want %d", asked, w.Body.Len(), want[1]-want[0])
		}
	}
	for _, asked := range []string{"bytes=3145728-", "bytes=9223372036854775807-"} {
		status(t, get(h, "GET", "/ipfs/"+s.big.String(), "Range", asked), 416)
	}
	for _, asked := range []string{"bytes=99999999999999999999-", "bytes=2-1", "bytes=x", "furlongs=1-2"} {
		status(t, get(h, "GET", "/ipfs/"+s.big.String(), "Range", asked), 400)
	}
}

func TestBlockIsGivenRaw(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	for _, w := range []*httptest.ResponseRecorder{
		get(h, "GET", "/ipfs/"+s.big.String()+"?format=raw"),
		get(h, "GET", "/ipfs/"+s.big.String(), "Accept", "application/vnd.ipld.raw"),
	} {
		status(t, w, 200)
		header(t, w, "Content-Type", "application/vnd.ipld.raw")
		header(t, w, "X-Content-Type-Options", "nosniff")
		if got, err := s.big.Prefix().Sum(w.Body.Bytes()); err != nil || !got.Equals(s.big) {
			t.Errorf("the block is %s, want %s; %v", got, s.big, err)
		}
	}
}

// blocksOf reads a CAR, hashing its blocks, and says which those are.
func blocksOf(t *testing.T, w *httptest.ResponseRecorder) []cid.Cid {
	t.Helper()
	status(t, w, 200)
	r, err := car.NewBlockReader(w.Body)
	must(t, err)
	var found []cid.Cid
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		must(t, err)
		found = append(found, b.Cid())
	}
}

func TestCARHoldsTheBlocksThatProveAnAnswer(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	path := "/ipfs/" + s.root.String() + "/big?format=car"
	n, err := merkledag.NewDAGService(blockservice.New(s.blocks, offline.Exchange(s.blocks))).Get(t.Context(), s.big)
	must(t, err)
	leaf := func(i int) cid.Cid { return n.Links()[i].Cid }
	for query, want := range map[string][]cid.Cid{
		"&dag-scope=block":  {s.root, s.big},
		"&dag-scope=entity": {s.root, s.big, leaf(0), leaf(1)}, // the third is like the second
		"&dag-scope=all":    {s.root, s.big, leaf(0), leaf(1)},
		"&dag-scope=entity&entity-bytes=1048576:1048577":     {s.root, s.big, leaf(1)},
		"&dag-scope=entity&entity-bytes=0:0":                 {s.root, s.big, leaf(0)},
		"&dag-scope=entity&entity-bytes=-1:*&car-dups=n":     {s.root, s.big, leaf(2)},
		"&dag-scope=entity&car-order=dfs&car-dups=y":         {s.root, s.big, leaf(0), leaf(1), leaf(2)},
		"&dag-scope=entity&car-order=dfs&car-dups=n&unused=": {s.root, s.big, leaf(0), leaf(1)},
	} {
		if got := blocksOf(t, get(h, "GET", path+query)); !slices.Equal(got, want) {
			t.Errorf("%s: %d blocks %s, want %s", query, len(got), got, want)
		}
	}
	status(t, get(h, "GET", path+"&dag-scope=galaxy"), 400)
	status(t, get(h, "GET", path+"&entity-bytes=9:1"), 400)
}

func TestEachCIDHasAHostOfItsOwn(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{Hosts: []string{"ipfs.example"}})
	w := get(h, "GET", "/ipfs/"+s.root.String()+"/hello.txt", "Host", "ipfs.example:8081")
	status(t, w, 301)
	header(t, w, "Location", "http://"+s.root.String()+".ipfs.ipfs.example:8081/hello.txt")
	w = get(h, "GET", "/hello.txt", "Host", s.root.String()+".ipfs.ipfs.example:8081")
	status(t, w, 200)
	header(t, w, "Content-Security-Policy", "")
	if w.Body.String() != hello {
		t.Errorf("got %q", w.Body)
	}
	v0 := cid.NewCidV0(s.root.Hash()).String()
	w = get(h, "GET", "/ipfs/"+v0+"/", "Host", "ipfs.example:8081")
	header(t, w, "Location", "http://"+s.root.String()+".ipfs.ipfs.example:8081/")
	status(t, get(h, "GET", "/ipfs/"+s.root.String()+"/hello.txt", "Host", "localhost:8081"), 200) // no such host here
}

func TestPagesByPathRunNoScript(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	w := get(h, "GET", "/ipfs/"+s.root.String()+"/sub/")
	header(t, w, "Content-Security-Policy", "sandbox allow-downloads")
	header(t, w, "X-Content-Type-Options", "nosniff")
	header(t, w, "Referrer-Policy", "no-referrer")
}

func TestARottenBlockIsNotGivenOut(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	flip := func(d oci.Digest) {
		f, err := s.pool.File(d)
		must(t, err)
		defer f.Close()
		b, err := os.ReadFile(f.Name())
		must(t, err)
		b[5] ^= 1 // of a block that is there once
		must(t, os.WriteFile(f.Name(), b, 0o644))
	}
	text, err := ipfs.DigestOf(s.text)
	must(t, err)
	flip(text)
	flip(oci.SHA256(s.bytes))
	for _, query := range []string{"?format=raw", "", "?format=car"} {
		if w := get(h, "GET", "/ipfs/"+s.text.String()+query); strings.Contains(w.Body.String(), "world") || w.Code == 200 && query != "?format=car" {
			t.Errorf("%q: got %d %q", query, w.Code, w.Body)
		}
	}
	server := httptest.NewServer(h)
	defer server.Close()
	a, err := http.Get(server.URL + "/ipfs/" + s.big.String())
	must(t, err)
	defer a.Body.Close()
	if got, err := io.ReadAll(a.Body); err == nil && a.StatusCode == 200 || len(got) == len(s.bytes) {
		t.Errorf("got %s and %d of %d bytes, %v", a.Status, len(got), len(s.bytes), err)
	}
}

func TestNamesAreNotResolved(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	status(t, get(h, "GET", "/ipns/example.com"), 404)
	status(t, get(h, "GET", "/", "Host", "example-com.ipns.localhost:8081"), 404)
	status(t, get(h, "GET", "/", "Host", "example.com"), 404)
	status(t, get(h, "GET", "/"), 404)
	if _, err := (nameless{}).Resolve(t.Context(), nil); !errors.Is(err, errNameless) {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsWritten(t *testing.T) {
	s := newSite(t)
	h := s.handler(t, Config{})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		status(t, get(h, method, "/ipfs/"+s.root.String()), 405)
	}
}

// A well of blocks from which nothing comes.
type well struct{ asked chan<- struct{} }

func (w well) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if w.asked != nil {
		w.asked <- struct{}{}
	}
	<-ctx.Done()
	return nil, format.ErrNotFound{Cid: c}
}

func (w well) GetBlocks(ctx context.Context, _ []cid.Cid) (<-chan blocks.Block, error) {
	none := make(chan blocks.Block)
	context.AfterFunc(ctx, func() { close(none) })
	return none, nil
}
func (well) NotifyNewBlocks(context.Context, ...blocks.Block) error { return nil }
func (well) Close() error                                           { return nil }

func TestLimits(t *testing.T) {
	s := newSite(t)
	unknown := merkledag.NewRawNode([]byte("nobody has this")).Cid().String()
	t.Run("nobody has it", func(t *testing.T) {
		status(t, get(s.handler(t, Config{}), "GET", "/ipfs/"+unknown), 404)
	})
	t.Run("nothing comes", func(t *testing.T) {
		status(t, get(s.handler(t, Config{Exchange: well{}, Stall: 50 * time.Millisecond}), "GET", "/ipfs/"+unknown), 504)
	})
	t.Run("too large", func(t *testing.T) {
		h := s.handler(t, Config{MaxSize: int64(len(s.bytes)) - 1})
		for _, query := range []string{"", "?format=car"} {
			status(t, get(h, "GET", "/ipfs/"+s.big.String()+query), 410)
		}
		status(t, get(h, "GET", "/ipfs/"+s.text.String()), 200)
	})
	t.Run("too many", func(t *testing.T) {
		asked := make(chan struct{}, 10)
		h := s.handler(t, Config{Exchange: well{asked}, MaxRequests: 1, Stall: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan struct{})
		go func() {
			defer close(first)
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/ipfs/"+unknown, nil))
		}()
		<-asked
		w := get(h, "GET", "/ipfs/"+s.text.String())
		status(t, w, 429)
		header(t, w, "Retry-After", "60")
		cancel()
		<-first
		status(t, get(h, "GET", "/ipfs/"+s.text.String()), 200)
	})
}

// Whatever is asked, nothing panics, which the library would answer with 500
// and no words; and what is given as a block is what its CID names.
//
//fuzz:parser safe.go gateway.go:New
func FuzzGet(f *testing.F) {
	s := newSite(f)
	h := s.handler(f, Config{})
	root := s.root.String()
	f.Add("/ipfs/"+root+"/hello.txt", "127.0.0.1", "", "bytes=1-2")
	f.Add("/ipfs/"+root+"/big?format=car&entity-bytes=0:-5", "localhost", "application/vnd.ipld.car;order=dfs;dups=n", "")
	f.Add("/hello.txt", root+".ipfs.localhost", "application/vnd.ipld.raw", "bytes=-9223372036854775808")
	f.Add("/ipns/example.com/?uri=ipfs://"+root, "example-com.ipns.localhost", "text/html", "bytes=,")
	f.Add("/ipfs/bafkqaaa/..%2f..?filename=%00&download=true", "", "application/x-tar", "bytes=9-1")
	f.Fuzz(func(t *testing.T, target, host, accept, asked string) {
		if !strings.HasPrefix(target, "/") {
			return
		}
		q, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
		if err != nil {
			return
		}
		q.Host, q.RequestURI = host, target
		q.Header.Set("Accept", accept)
		q.Header.Set("Range", asked)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		if w.Code == 500 && w.Body.Len() == 0 {
			t.Errorf("%s of %s (%s, %s): panic", target, host, accept, asked)
		}
		if w.Code == 200 && w.Header().Get("Content-Type") == "application/vnd.ipld.raw" {
			roots := strings.Split(w.Header().Get("X-Ipfs-Roots"), ",")
			c, err := cid.Decode(roots[len(roots)-1])
			must(t, err)
			if got, err := c.Prefix().Sum(w.Body.Bytes()); err != nil || !got.Equals(c) {
				t.Errorf("%s: got %s, %v", c, got, err)
			}
		}
	})
}
