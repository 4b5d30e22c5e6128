package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/oci"
)

// A fake upstream: the registry's side of fetching is what is shown here.
type fakeSource struct {
	blobs     map[oci.Digest]func() (io.ReadCloser, int64, error)
	manifests map[string]Manifest
	down      atomic.Bool
	calls     atomic.Int64
}

func newSource() *fakeSource {
	return &fakeSource{blobs: map[oci.Digest]func() (io.ReadCloser, int64, error){}, manifests: map[string]Manifest{}}
}

func (s *fakeSource) Prefix(namespace string) (string, bool) {
	return namespace, namespace == "upstream.example"
}

func (s *fakeSource) Blob(_ context.Context, _ string, d oci.Digest) (io.ReadCloser, int64, error) {
	s.calls.Add(1)
	if s.down.Load() {
		return nil, 0, errors.New("upstream is down")
	}
	if open := s.blobs[d]; open != nil {
		return open()
	}
	return nil, 0, fmt.Errorf("%s: %w", d, ErrUnknown)
}

func (s *fakeSource) Manifest(_ context.Context, repository, reference string, have oci.Digest) (Manifest, error) {
	s.calls.Add(1)
	if s.down.Load() {
		return Manifest{}, errors.New("upstream is down")
	}
	m, ok := s.manifests[repository+" "+reference]
	if !ok {
		return Manifest{}, ErrUnknown
	}
	if m.Digest == have {
		m.Body = nil
	}
	return m, nil
}

func (s *fakeSource) add(content string) oci.Digest {
	d := oci.SHA256([]byte(content))
	s.blobs[d] = func() (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(content)), int64(len(content)), nil
	}
	return d
}

func TestABlobThatIsMissingIsFetchedOnceForAll(t *testing.T) {
	s := newSource()
	content := strings.Repeat("0123456789", 200_000)
	d := oci.SHA256([]byte(content))
	more, end := io.Pipe()
	s.blobs[d] = func() (io.ReadCloser, int64, error) { return more, int64(len(content)), nil }
	var stored atomic.Int64
	c, _ := start(t, Config{Dir: t.TempDir(), Sources: []Source{newSource(), s}, Stored: func(oci.Digest) { stored.Add(1) }})
	var clients sync.WaitGroup
	first := make(chan struct{}, 20)
	for range 20 {
		clients.Go(func() {
			a := c.send("GET", "/v2/app/blobs/"+string(d), nil)
			head := make([]byte, 5)
			if _, err := io.ReadFull(a.Body, head); err != nil {
				t.Error(err)
			}
			first <- struct{}{}
			rest, err := io.ReadAll(a.Body)
			if err != nil || string(head)+string(rest) != content || a.ContentLength != int64(len(content)) {
				t.Errorf("got %d bytes of %d, %v", len(rest), a.ContentLength, err)
			}
		})
	}
	go func() { _, _ = io.WriteString(end, content[:10]) }()
	for range 20 { // all have the first bytes, of which more are not there yet
		<-first
	}
	_, _ = io.WriteString(end, content[10:])
	_ = end.Close()
	clients.Wait()
	if n := s.calls.Load(); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
	s.down.Store(true)
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(d), nil), http.StatusOK), content)
	if stored.Load() != 1 {
		t.Errorf("said to be stored %d times", stored.Load())
	}
}

func TestWrongBytesAreNeitherWholeNorKept(t *testing.T) {
	for name, total := range map[string]int64{"of known length": 5, "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			s, dir := newSource(), t.TempDir()
			d := oci.SHA256([]byte("right"))
			s.blobs[d] = func() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader("wrong")), total, nil }
			c, _ := start(t, Config{Dir: dir, Sources: []Source{s}})
			if a, err := http.Get(c.url + "/v2/app/blobs/" + string(d)); err == nil {
				if got, err := io.ReadAll(a.Body); a.StatusCode == http.StatusOK && err == nil {
					t.Errorf("the client took %q for whole", got)
				}
				_ = a.Body.Close()
			}
			s.down.Store(true)
			if a := c.send("GET", "/v2/app/blobs/"+string(d), nil); a.StatusCode == http.StatusOK || inPool(t, dir) != 0 {
				t.Errorf("got %s, %d blobs", a.Status, inPool(t, dir))
			}
		})
	}
}

// A source that breaks off is followed by the next, and the client notices
// nothing.
func TestTheNextSourceGoesOnWhereOneBrokeOff(t *testing.T) {
	one, two := newSource(), newSource()
	d := two.add("0123456789")
	one.blobs[d] = func() (io.ReadCloser, int64, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("0123"), errReader{errors.New("cut")})), 10, nil
	}
	c, _ := start(t, Config{Dir: t.TempDir(), Sources: []Source{one, two}})
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(d), nil), http.StatusOK), "0123456789")
}

func TestARangeAndAHeadOfAMissingBlob(t *testing.T) {
	s := newSource()
	one, two := s.add("0123456789"), s.add("abcdefghij")
	c, _ := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(one), nil, "Range: bytes=2-4"), http.StatusPartialContent), "234")
	c.header(c.want(c.send("HEAD", "/v2/app/blobs/"+string(two), nil), http.StatusOK), "Content-Length", "10")
}

func TestWhatNoSourceHasIsUnknownAndWhatCannotBeAskedIsSaidSo(t *testing.T) {
	s := newSource()
	d := string(oci.SHA256(nil))
	c, _ := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	c.refused(c.send("GET", "/v2/app/blobs/"+d, nil), http.StatusNotFound, "BLOB_UNKNOWN")
	c.refused(c.send("GET", "/v2/app/manifests/"+d, nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	s.blobs[oci.Digest(d)] = func() (io.ReadCloser, int64, error) {
		return nil, 0, &BusyError{After: 7 * time.Second, Err: errors.New("slow down")}
	}
	busy := c.send("GET", "/v2/app/blobs/"+d, nil)
	c.header(busy, "Retry-After", "7")
	c.refused(busy, http.StatusTooManyRequests, "TOOMANYREQUESTS")
	s.down.Store(true)
	c.want(c.send("GET", "/v2/app/blobs/"+d, nil), http.StatusBadGateway)
	c.want(c.send("GET", "/v2/app/manifests/v1", nil), http.StatusBadGateway)
}

// A tag that moves upstream moves here; when upstream is down, what is here
// is served. A name space of containerd's is a prefix.
func TestATagFollowsItsSource(t *testing.T) {
	s := newSource()
	layer := s.add("layer")
	image := func(about string) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":5},"layers":[],"annotations":{"a":%q}}`, ociImage, layer, about)
	}
	set := func(m []byte) {
		s.manifests["upstream.example/team/app v1"] = Manifest{Digest: oci.SHA256(m), MediaType: ociImage, Body: m}
	}
	set(image("one"))
	c, _ := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	path := "/v2/team/app/manifests/v1?ns=upstream.example"
	c.body(c.want(c.send("GET", path, nil), http.StatusOK), string(image("one")))
	c.body(c.want(c.send("GET", path, nil), http.StatusOK), string(image("one"))) // unchanged
	set(image("two"))
	c.body(c.want(c.send("GET", path, nil), http.StatusOK), string(image("two")))
	s.down.Store(true)
	c.body(c.want(c.send("GET", "/v2/upstream.example/team/app/manifests/v1", nil), http.StatusOK), string(image("two")))
	c.body(c.want(c.send("GET", path, nil), http.StatusOK), string(image("two")))
	c.want(c.send("GET", "/v2/team/app/manifests/v1", nil), http.StatusBadGateway)
}

func TestAManifestThatIsNotWhatItsDigestNamesIsRefused(t *testing.T) {
	s := newSource()
	d := oci.SHA256([]byte("right"))
	s.manifests["app "+string(d)] = Manifest{Digest: d, MediaType: ociImage, Body: []byte(`{"schemaVersion":2,"config":{"digest":"` + string(d) + `"}}`)}
	c, r := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	c.want(c.send("GET", "/v2/app/manifests/"+string(d), nil), http.StatusBadGateway)
	if r.index.Has("app") {
		t.Error("it was kept")
	}
}

func TestWhatRottedIsFetchedAgain(t *testing.T) {
	s, dir := newSource(), t.TempDir()
	c, r := start(t, Config{Dir: dir, Sources: []Source{s}})
	m := c.push("app", "v1")
	layer := s.add("layer of appv1")
	flip(t, dir, layer)
	found, err := r.Verify(t.Context(), VerifyConfig{})
	if err != nil || len(found.Rotten) != 1 || !found.Rotten[0].Fetched {
		t.Fatalf("got %+v and %v, want it fetched again", found, err)
	}
	s.down.Store(true)
	c.pull("app", "v1", m)
}

func TestAClientThatLeavesEndsTheFetchThatNobodyElseWants(t *testing.T) {
	s := newSource()
	d := oci.SHA256([]byte("never"))
	ended := make(chan error, 1)
	more, end := io.Pipe()
	s.blobs[d] = func() (io.ReadCloser, int64, error) { return more, -1, nil }
	c, _ := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	go func() {
		for {
			if _, err := end.Write(make([]byte, 1<<16)); err != nil {
				ended <- err
				return
			}
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, "GET", c.url+"/v2/app/blobs/"+string(d), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(a.Body, make([]byte, 1<<20))
	cancel()
	_ = a.Body.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("it is still read")
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestAFetchThatWasGivenUpIsNotJoined(t *testing.T) {
	s := newSource()
	d := oci.SHA256([]byte("wanted"))
	waits, end := make(chan struct{}), make(chan struct{})
	s.blobs[d] = func() (io.ReadCloser, int64, error) {
		if s.calls.Load() == 1 {
			return io.NopCloser(readFunc(func([]byte) (int, error) { // heeds no context
				close(waits)
				<-end
				return 0, errors.New("broke off")
			})), 6, nil
		}
		return io.NopCloser(strings.NewReader("wanted")), 6, nil
	}
	c, r := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	first, err := r.join("app", d, r.config.MaxBlob)
	if err != nil {
		t.Fatal(err)
	}
	defer close(end)
	<-waits
	r.leave(first)
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+string(d), nil), http.StatusOK), "wanted")
}

type gateFunc func(pull bool, in View, m Manifest) error

func (f gateFunc) Push(_ context.Context, in View, m Manifest) error { return f(false, in, m) }
func (f gateFunc) Pull(_ context.Context, in View, m Manifest) error { return f(true, in, m) }

func TestAGateSeesTheRepositoryAndIsHeard(t *testing.T) {
	signed := func(pull bool, in View, m Manifest) error {
		list, err := in.Referrers(t.Context(), m.Digest, "test/signature")
		switch {
		case err != nil:
			return err
		case m.Tag == "never":
			return fmt.Errorf("this tag: %w", ErrRefused)
		case m.Tag == "broken":
			return errors.New("the secret cause")
		case pull && len(list) == 0 && m.Tag != "":
			return fmt.Errorf("no signature: %w", ErrRefused)
		}
		return nil
	}
	c, _ := start(t, Config{Dir: t.TempDir(), Gate: gateFunc(signed)})
	m := c.push("app", "v1")
	c.refused(c.send("GET", "/v2/app/manifests/v1", nil), http.StatusForbidden, "DENIED")
	c.refer("app", m, "signature")
	c.body(c.want(c.send("GET", "/v2/app/manifests/v1", nil), http.StatusOK), string(m))
	c.refused(c.send("PUT", "/v2/app/manifests/never", bytes.NewReader(m)), http.StatusForbidden, "DENIED")
	broken := c.send("PUT", "/v2/app/manifests/broken", bytes.NewReader(m))
	said, _ := io.ReadAll(broken.Body)
	if broken.StatusCode != http.StatusForbidden || strings.Contains(string(said), "secret") {
		t.Errorf("got %s %s", broken.Status, said)
	}
}

// What a manifest's digest names is the manifest, by whatever path.
func TestAManifestThatIsRefusedIsNotGivenOutAsABlob(t *testing.T) {
	refuse := func(pull bool, _ View, _ Manifest) error {
		if pull {
			return ErrRefused
		}
		return nil
	}
	c, _ := start(t, Config{Dir: t.TempDir(), Gate: gateFunc(refuse)})
	m := c.push("app", "v1")
	for _, method := range []string{"GET", "HEAD"} {
		c.want(c.send(method, "/v2/app/blobs/"+digestOf(m), nil), http.StatusForbidden)
	}
	c.body(c.want(c.send("GET", "/v2/app/blobs/"+digestOf([]byte("layer of appv1")), nil), http.StatusOK), "layer of appv1")
}

func TestASourceGivesNoMoreThanWasAskedFor(t *testing.T) {
	s := newSource()
	d := s.add("0123456789")
	c, r := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}})
	if _, err := r.pulled("app").Blob(t.Context(), d, 9); err == nil {
		t.Error("10 bytes came, where 9 were asked for")
	}
	b, err := r.pulled("app").Blob(t.Context(), d, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); string(got) != "0123456789" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	c.has("app", d, true)
}

func TestWrongBytesOfASourceAreAFailureOfIt(t *testing.T) {
	s, o := newSource(), &counts{}
	d := oci.SHA256([]byte("right"))
	s.blobs[d] = func() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader("wrong")), 5, nil }
	_, r := start(t, Config{Dir: t.TempDir(), Sources: []Source{s}, Observer: o})
	_ = r.bring(t.Context(), "app", d, 5)
	if len(o.fetched) != 1 || o.fetched[0] == nil {
		t.Errorf("got %v", o.fetched)
	}
}

type counts struct {
	mu       sync.Mutex
	answered []Answered
	fetched  []error
}

func (o *counts) Request(a Answered) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered = append(o.answered, a)
}
func (o *counts) Fetched(_ int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetched = append(o.fetched, err)
}

func TestAnObserverCountsWhatCameAndWent(t *testing.T) {
	o := &counts{}
	c, r := start(t, Config{Dir: t.TempDir(), Observer: o})
	d := c.pushBlob("app", "0123456789")
	c.body(c.send("GET", "/v2/app/blobs/"+string(d), nil), "0123456789")
	_ = r.Close() // after the last was counted
	var put, get Answered
	for _, a := range o.answered {
		switch a.Operation {
		case "upload PUT":
			put = a
		case "blob GET":
			get = a
		}
	}
	if put.Status != http.StatusCreated || put.Received != 10 || get.Status != http.StatusOK || get.Sent != 10 || get.Repository != "app" {
		t.Errorf("got %+v and %+v", put, get)
	}
}
