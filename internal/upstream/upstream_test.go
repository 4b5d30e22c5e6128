package upstream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/oci"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// A far registry answers by hand, so that it can do wrong.
type far struct {
	testing.TB
	*httptest.Server

	mu      sync.Mutex
	asked   []string // guarded by mu: method and path
	tags    map[string][]byte
	blobs   map[string][]byte
	instead http.HandlerFunc // answers in place of all, when set
}

func newFar(t testing.TB) *far {
	f := &far{TB: t, tags: map[string][]byte{}, blobs: map[string][]byte{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *far) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, q.Method+" "+q.URL.Path)
	instead := f.instead
	name := q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]
	body, ok := f.tags[name]
	if strings.Contains(q.URL.Path, "/blobs/") {
		body, ok = f.blobs[name]
	}
	f.mu.Unlock()
	switch {
	case instead != nil:
		instead(w, q)
	case q.URL.Path == "/v2/":
	case !ok:
		http.NotFound(w, q)
	case strings.Contains(q.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", string(oci.SHA256(body)))
		_, _ = w.Write(body)
	default:
		_, _ = w.Write(body)
	}
}

// times says how often something was asked for, and forgets it.
func (f *far) times(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, asked := range f.asked {
		if strings.HasPrefix(asked, what) {
			n++
		}
	}
	f.asked = nil
	return n
}

func (f *far) put(tag, text string) oci.Digest {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[tag] = []byte(text)
	f.tags[string(oci.SHA256([]byte(text)))] = []byte(text)
	return oci.SHA256([]byte(text))
}

func (f *far) answer(instead http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead = instead
}

// load reads a list of upstreams, in which HOST stands for the far registry.
func (f *far) load(text string, c Config) *Set {
	f.Helper()
	path := filepath.Join(f.TempDir(), "upstreams.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "HOST", f.Listener.Addr().String())), 0o600); err != nil {
		f.Fatal(err)
	}
	s, _, err := Load(path, c)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

const one = "upstreams:\n- {prefix: far.example, url: 'http://HOST'}\n"

func TestAnUpstreamIsFoundByTheLongestPrefix(t *testing.T) {
	f := newFar(t)
	s := f.load("upstreams:\n- {prefix: a, url: 'http://HOST'}\n- {prefix: a/b, url: 'http://HOST/deep/er', namespaces: [b.example, 'b.example:5000']}\n", Config{})
	for repository, want := range map[string]string{"a/x/y": "x/y", "a/b/x": "deep/er/x", "a/bc": "bc"} {
		if _, name, err := s.find(repository); err != nil || name != want {
			t.Errorf("%s: got %s, %v", repository, name, err)
		}
	}
	for _, repository := range []string{"a", "b/x", "ab/x", ""} {
		if _, _, err := s.find(repository); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: got %v", repository, err)
		}
	}
	for namespace, want := range map[string]string{"a": "a", "b.example": "a/b", "b.example:5000": "a/b", "a/b": "", "": ""} {
		if got, _ := s.Prefix(namespace); got != want {
			t.Errorf("namespace %q: got %q", namespace, got)
		}
	}
}

func TestATagIsAskedForNoMoreOftenThanItMayBe(t *testing.T) {
	f, now := newFar(t), time.Now()
	s := f.load(one, Config{Now: func() time.Time { return now }})
	first := f.put("v1", `{"a":1}`)
	m, err := s.Manifest(t.Context(), "far.example/app", "v1", "")
	if err != nil || m.Digest != first || m.MediaType != manifestType || string(m.Body) != `{"a":1}` {
		t.Fatalf("got %+v, %v", m, err)
	}
	if f.times("GET /v2/app/manifests/v1") != 1 {
		t.Error("want it asked for once")
	}
	m, err = s.Manifest(t.Context(), "far.example/app", "v1", first)
	if err != nil || m.Digest != first || m.Body != nil || f.times("") != 0 {
		t.Errorf("within the minute: got %+v, %v", m, err)
	}
	now = now.Add(time.Minute)
	m, err = s.Manifest(t.Context(), "far.example/app", "v1", first)
	if err != nil || m.Digest != first || m.Body != nil || f.times("HEAD /v2/app/manifests/v1") != 1 {
		t.Errorf("after the minute: got %+v, %v", m, err)
	}
	now = now.Add(time.Minute)
	second := f.put("v1", `{"a":2}`)
	m, err = s.Manifest(t.Context(), "far.example/app", "v1", first)
	if err != nil || m.Digest != second || string(m.Body) != `{"a":2}` {
		t.Errorf("a tag that moved: got %+v, %v", m, err)
	}
}

func TestAManifestThatIsNotWhatItsDigestSaysIsRefused(t *testing.T) {
	f := newFar(t)
	s := f.load(one, Config{})
	d := oci.SHA256([]byte("{}"))
	f.put(string(d), `{"wrong":1}`)
	if _, err := s.Manifest(t.Context(), "far.example/app", string(d), ""); err == nil || !strings.Contains(err.Error(), "for "+string(d)) {
		t.Errorf("got %v", err)
	}
	long := oci.Digest("sha512:" + fmt.Sprintf("%0128d", 0))
	f.put(string(long), `{}`)
	if _, err := s.Manifest(t.Context(), "far.example/app", string(long), ""); err == nil {
		t.Error("a wrong sha512 passed")
	}
}

func TestAManifestWithoutEndIsCutOff(t *testing.T) {
	f := newFar(t)
	s := f.load(one, Config{})
	f.answer(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		for q.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	if _, err := s.Manifest(t.Context(), "far.example/app", "v1", ""); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNotThereOrNotForUsIsUnknown(t *testing.T) {
	f := newFar(t)
	s := f.load(one, Config{})
	for _, code := range []int{404, 401, 403} {
		f.answer(func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path != "/v2/" {
				w.WriteHeader(code)
			}
		})
		_, err := s.Manifest(t.Context(), "far.example/app", "v1", "")
		_, _, blob := s.Blob(t.Context(), "far.example/app", oci.SHA256(nil))
		if !errors.Is(err, ErrUnknown) || !errors.Is(blob, ErrUnknown) {
			t.Errorf("%d: got %v and %v", code, err, blob)
		}
	}
	f.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	if _, err := s.Manifest(t.Context(), "far.example/app", "v1", ""); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("500: got %v, want that it could not be asked", err)
	}
}

func TestABrokenBlobIsGoneOnWith(t *testing.T) {
	f := newFar(t)
	s := f.load(one, Config{})
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	broken := false
	f.answer(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/v2/" && !broken {
			broken = true
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:len(content)/2])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(content))
	})
	body, size, err := s.Blob(t.Context(), "far.example/app", oci.SHA256(content))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || size != int64(len(content)) || !bytes.Equal(got, content) {
		t.Errorf("got %d of %d bytes, %v", len(got), size, err)
	}
}

// loginFile writes a file of credentials and gives its name.
func loginFile(t testing.TB, hosts map[string]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "login.json")
	raw, err := json.Marshal(map[string]any{"auths": hosts})
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A registry sends its blobs' readers to another host, and asks for a
// password; the other host sees none of it.
func TestCredentialsGoToTheUpstreamAndNobodyElse(t *testing.T) {
	f, content := newFar(t), []byte("the blob")
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		for name, values := range q.Header {
			if strings.Contains(fmt.Sprint(values), "YWxpY2U6ZWNpbGE") || name == "Authorization" || name == "Cookie" {
				t.Errorf("the other host got %s: %v", name, values)
			}
		}
		_, _ = w.Write(content)
	}))
	defer cdn.Close()
	asked := false
	f.answer(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		switch {
		case user != "alice" || password != "ecila":
			w.Header().Set("WWW-Authenticate", `Basic realm="far"`)
			w.WriteHeader(401)
		case q.URL.Path != "/v2/":
			asked = true
			http.Redirect(w, q, cdn.URL+"/x", http.StatusTemporaryRedirect)
		}
	})
	basic := base64.StdEncoding.EncodeToString([]byte("alice:ecila"))
	file := loginFile(t, map[string]any{f.Listener.Addr().String(): map[string]string{"auth": basic}})
	s := f.load("upstreams:\n- {prefix: far.example, url: 'http://HOST', credentials: '"+file+"'}\n", Config{})
	body, _, err := s.Blob(t.Context(), "far.example/app", oci.SHA256(content))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content) || !asked {
		t.Errorf("got %q, %v", got, err)
	}
	if text := fmt.Sprintf("%v %+v", s.upstreams[0].login, s.upstreams[0].entry); strings.Contains(text, "ecila") {
		t.Errorf("a login can be printed: %s", text)
	}
}

func TestReferrersAreFoundByTheEndpointOrByTheTag(t *testing.T) {
	f, now := newFar(t), time.Now()
	s := f.load(one, Config{Now: func() time.Time { return now }})
	subject, signature := oci.SHA256([]byte("image")), oci.SHA256([]byte("signature"))
	index := fmt.Sprintf(`{"manifests":[{"digest":%q},{"digest":"../../x"}]}`, signature)
	want := func(how string) {
		t.Helper()
		got, err := s.Referrers(t.Context(), "far.example/app", subject)
		if err != nil || len(got) != 1 || got[0] != signature {
			t.Errorf("%s: got %v, %v", how, got, err)
		}
		f.times("")
		if got, err := s.Referrers(t.Context(), "far.example/app", subject); err != nil || got != nil || f.times("") != 0 {
			t.Errorf("%s, again: got %v, %v", how, got, err)
		}
		now = now.Add(time.Minute)
	}
	f.put("sha256-"+subject.Hex(), index)
	want("by the tag")
	f.answer(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/app/referrers/"+string(subject) {
			_, _ = io.WriteString(w, index)
		}
	})
	want("by the endpoint")
	f.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if got, err := s.Referrers(t.Context(), "far.example/app", subject); err != nil || got != nil {
		t.Errorf("none: got %v, %v", got, err)
	}
}

// What is listed as a referrer is a digest.
//
//fuzz:parser referrers.go:parseReferrers
func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},{"digest":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _ := parseReferrers(b)
		for _, d := range list {
			if len(d.Hex()) < 64 {
				t.Errorf("got %q", d)
			}
		}
	})
}
