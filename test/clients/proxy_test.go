package clients

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/wiring"
	"holdfast/test/port"
)

// proxied serves what upstream, a URL, has under far.example.
func proxied(t *testing.T, url, more string) host {
	t.Helper()
	file := filepath.Join(t.TempDir(), "upstreams.yaml")
	write(t, file, fmt.Sprintf("upstreams:\n- prefix: far.example\n  url: %s\n  recheck: 1\n%s", url, more))
	return serve(t, func(c *wiring.ServeConfig) { c.Upstreams = &wiring.UpstreamConfig{File: file} })
}

// credentials writes a file of them, and gives the words that name it.
func credentials(t *testing.T, address string, who person) string {
	t.Helper()
	return "  credentials: " + authFile(t, host{address: address}, who) + "\n"
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// blobServer answers for blobs as answer does, and counts.
func blobServer(t *testing.T, answer http.HandlerFunc) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			asked.Add(1)
			answer(w, q)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestFiftyClientsCauseOneFetchAndNobodyWaitsForItsEnd(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	half, all := len(content)/2, make(chan struct{})
	url, asked := blobServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:half])
		_ = http.NewResponseController(w).Flush()
		<-all
		_, _ = w.Write(content[half:])
	})
	h := proxied(t, url, "")
	var began, done sync.WaitGroup
	began.Add(50)
	for range 50 {
		done.Go(func() {
			answer, err := http.Get("http://" + h.address + "/v2/far.example/app/blobs/" + digestOf(content))
			if err != nil {
				began.Done()
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			first := make([]byte, half/2)
			_, err = io.ReadFull(answer.Body, first)
			began.Done()
			rest, more := io.ReadAll(answer.Body)
			if err != nil || more != nil || !bytes.Equal(append(first, rest...), content) {
				t.Errorf("%s: %d bytes, %v, %v", answer.Status, len(first)+len(rest), err, more)
			}
		})
	}
	began.Wait() // all have a part of what the upstream has not sent in full
	close(all)
	done.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestABlobThatIsNotWhatItsDigestSaysBreaksOffAndIsNotKept(t *testing.T) {
	content := bytes.Repeat([]byte("good"), 1<<16)
	bad := bytes.Replace(content, []byte("good"), []byte("evil"), 1)
	send := atomic.Pointer[[]byte]{}
	send.Store(&bad)
	url, _ := blobServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*send.Load()) })
	h := proxied(t, url, "")
	path := "http://" + h.address + "/v2/far.example/app/blobs/" + digestOf(content)
	for range 3 {
		answer, err := http.Get(path)
		if err != nil {
			continue // it was found out before the head was sent
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK && err == nil {
			t.Fatalf("the client took %d wrong bytes for the blob", len(body))
		}
	}
	if kept := holding(t, h.state, []byte("evilgood")); len(kept) > 0 {
		t.Errorf("kept in %v", kept)
	}
	send.Store(&content)
	if got := body(t, h, nobody, "/v2/far.example/app/blobs/"+digestOf(content)); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes once the upstream is mended", len(got))
	}
}

// holding lists the files below dir that begin with what.
func holding(t *testing.T, dir string, what []byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.HasPrefix(b, what) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func body(t *testing.T, h host, who person, path string) []byte {
	t.Helper()
	answer := h.ask(t, who, http.MethodGet, path)
	b, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK {
		t.Errorf("%s: %s %s", path, answer.Status, b)
	}
	return b
}

func TestABlobWithoutEndIsCutOff(t *testing.T) {
	url, _ := blobServer(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<50))
		_, _ = w.Write(make([]byte, 1<<20))
		<-q.Context().Done()
	})
	h := proxied(t, url, "")
	answer := h.ask(t, nobody, http.MethodGet, "/v2/far.example/app/blobs/"+digestOf([]byte("x")))
	if answer.StatusCode < 400 {
		t.Errorf("got %s", answer.Status)
	}
}

// An upstream is one of our own, with rules, so that it wants a token.
func TestWhatWasPulledOnceIsServedWhileTheUpstreamIsDown(t *testing.T) {
	needs(t, "skopeo", "skopeo")
	far := guarded(t, false)
	dir, digest := layout(t, t.Name())
	if err := (skopeo{t}).push(far, alice, dir, far.address+"/secret/app:v1"); err != nil {
		t.Fatal(err)
	}
	gate := newCutter(t, far.address)
	h := proxied(t, "http://"+gate.address, credentials(t, gate.address, alice))
	ref := h.address + "/far.example/secret/app:v1"
	if got, err := (skopeo{t}).pull(h, nobody, ref); err != nil || got != digest {
		t.Fatalf("got %s, %v; want %s", got, err, digest)
	}
	answer := h.ask(t, nobody, http.MethodGet, "/v2/far.example/secret/app/manifests/v1")
	if warning := answer.Header.Get("Warning"); answer.StatusCode != http.StatusOK || warning != "" {
		t.Errorf("while it is up: got %s, Warning %q", answer.Status, warning)
	}
	gate.cut()
	time.Sleep(1100 * time.Millisecond) // recheck is a second
	answer = h.ask(t, nobody, http.MethodGet, "/v2/far.example/secret/app/manifests/v1")
	if warning := answer.Header.Get("Warning"); answer.StatusCode != http.StatusOK || !strings.HasPrefix(warning, "299 - ") {
		t.Errorf("while it is down: got %s, Warning %q", answer.Status, warning)
	}
	if got, err := (skopeo{t}).pull(h, nobody, ref); err != nil || got != digest {
		t.Errorf("while it is down: got %s, %v", got, err)
	}
	answer = h.ask(t, nobody, http.MethodGet, "/v2/far.example/secret/app/manifests/v2")
	if answer.StatusCode != http.StatusBadGateway {
		t.Errorf("a tag that was never pulled: got %s", answer.Status)
	}
}

// A cutter forwards bytes to an address until it is cut.
type cutter struct {
	address string
	server  *httptest.Server
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		forward := q.Clone(q.Context())
		forward.RequestURI, forward.URL.Scheme, forward.URL.Host = "", "http", to // Host stays: tokens are asked for here
		answer, err := http.DefaultTransport.RoundTrip(forward)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer answer.Body.Close()
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}))
	t.Cleanup(s.Close)
	return &cutter{address: s.Listener.Addr().String(), server: s}
}

func (c *cutter) cut() { c.server.Close() }

func TestWhatRulesForbidIsNotEvenAskedForUpstream(t *testing.T) {
	content := []byte("for alice")
	url, asked := blobServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	file, list := filepath.Join(t.TempDir(), "access.yaml"), filepath.Join(t.TempDir(), "upstreams.yaml")
	write(t, file, strings.Replace(rules, "secret/**, push", "far.example/**, pull", 1))
	write(t, list, "upstreams:\n- {prefix: far.example, url: '"+url+"'}\n")
	h := serve(t, func(c *wiring.ServeConfig) {
		c.Access.Rules, c.Upstreams = file, &wiring.UpstreamConfig{File: list}
	})
	for _, path := range []string{"/v2/far.example/app/blobs/" + digestOf(content), "/v2/app/blobs/" + digestOf(content) + "?ns=far.example"} {
		for who, want := range map[person]int{nobody: 401, bob: 404} {
			if answer := h.ask(t, who, http.MethodGet, path); answer.StatusCode != want {
				t.Errorf("%q gets %s", who.name, answer.Status)
			}
		}
		if asked.Load() != 0 {
			t.Error("the upstream was asked")
		}
	}
	if got := body(t, h, alice, "/v2/app/blobs/"+digestOf(content)+"?ns=far.example"); !bytes.Equal(got, content) {
		t.Errorf("alice gets %q", got)
	}
}

// The upstream is CNCF distribution, which wants a password with each request.
func TestDistributionIsAnUpstream(t *testing.T) {
	needs(t, "docker-registry", "docker-registry")
	needs(t, "skopeo", "skopeo")
	far := distribution(t)
	dir, digest := layout(t, t.Name())
	if err := (skopeo{t}).push(far, alice, dir, far.address+"/team/app:v1"); err != nil {
		t.Fatal(err)
	}
	h := proxied(t, "http://"+far.address+"/team", credentials(t, far.address, alice))
	if got, err := (skopeo{t}).pull(h, nobody, h.address+"/far.example/app:v1"); err != nil || got != digest {
		t.Errorf("got %s, %v; want %s", got, err, digest)
	}
	wrong := proxied(t, "http://"+far.address+"/team", credentials(t, far.address, impostor))
	if _, err := (skopeo{t}).pull(wrong, nobody, wrong.address+"/far.example/app:v1"); err == nil {
		t.Error("pulled with a wrong password")
	}
}

// distribution is Debian's docker-registry, which knows alice.
func distribution(t *testing.T) host {
	t.Helper()
	dir := t.TempDir()
	_, line, _ := strings.Cut(rules, "  alice: ")
	hash, _, _ := strings.Cut(line, " ")
	write(t, filepath.Join(dir, "htpasswd"), "alice:"+hash+"\n")
	address := port.Address(t)
	write(t, filepath.Join(dir, "config.yml"), fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
auth: {htpasswd: {realm: far, path: %q}}
`, filepath.Join(dir, "data"), address, filepath.Join(dir, "htpasswd")))
	var log bytes.Buffer
	daemon := exec.Command("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	})
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if answer, err := http.Get("http://" + address + "/v2/"); err == nil {
			_ = answer.Body.Close()
			return host{address: address}
		}
	}
	t.Fatalf("docker-registry does not answer: %s", &log)
	return host{}
}

// containerd asks a mirror for docker.io's images by ?ns=docker.io.
func TestContainerdPullsByNamespace(t *testing.T) {
	c := newCtr(t)
	needs(t, "skopeo", "skopeo")
	far := guarded(t, false)
	dir, digest := layout(t, t.Name())
	if err := (skopeo{t}).push(far, bob, dir, far.address+"/public/app:v1"); err != nil {
		t.Fatal(err)
	}
	h := proxied(t, "http://"+far.address, "  namespaces: docker.io\n")
	hosts := t.TempDir()
	if err := os.Mkdir(filepath.Join(hosts, "docker.io"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(hosts, "docker.io", "hosts.toml"),
		fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", h.address, h.address))
	if _, err := c.run("images", "pull", "--snapshotter=native", "--hosts-dir="+hosts, "docker.io/public/app:v1"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.digest("docker.io/public/app:v1"); err != nil || got != digest {
		t.Errorf("got %s, %v; want %s", got, err, digest)
	}
	if _, err := os.Stat(filepath.Join(h.state, "registry", "far.example", "public", "app")); err != nil {
		t.Errorf("not kept under the prefix: %v", err)
	}
}

// What refers to an image comes with it, and stays when the upstream is gone.
func TestReferrersComeThroughAMirror(t *testing.T) {
	far := serve(t, nil)
	dir, digest := layout(t, t.Name())
	if err := (craneClient{t}).push(far, nobody, dir, far.address+"/app:v1"); err != nil {
		t.Fatal(err)
	}
	signature := attach(t, far, "app", digest)
	gate := newCutter(t, far.address)
	h := proxied(t, "http://"+gate.address, "")
	for _, upstream := range []string{"up", "down"} {
		list := body(t, h, nobody, "/v2/far.example/app/referrers/"+digest)
		if !strings.Contains(string(list), signature) {
			t.Errorf("upstream %s: got %s, want %s", upstream, list, signature)
		}
		body(t, h, nobody, "/v2/far.example/app/manifests/"+signature)
		gate.cut()
		time.Sleep(1100 * time.Millisecond) // recheck is a second
	}
}

// attach pushes an artifact that refers to an image.
func attach(t *testing.T, h host, repository, image string) (digest string) {
	t.Helper()
	send := func(method, path, mediaType string, content []byte) {
		q, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.address+"/v2/"+repository+path, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", mediaType)
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if said, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusCreated {
			t.Fatalf("%s %s: %s %s", method, path, answer.Status, said)
		}
	}
	const manifestType, empty = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.empty.v1+json"
	send(http.MethodPost, "/blobs/uploads/?digest="+digestOf([]byte("{}")), "application/octet-stream", []byte("{}"))
	config := map[string]any{"mediaType": empty, "digest": digestOf([]byte("{}")), "size": 2}
	manifest := marshal(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "artifactType": "application/vnd.example.signature", "config": config,
		"layers": []any{config}, "subject": map[string]any{"mediaType": manifestType, "digest": image, "size": 2},
	})
	send(http.MethodPut, "/manifests/"+digestOf(manifest), manifestType, manifest)
	return digestOf(manifest)
}
