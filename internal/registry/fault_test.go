package registry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/oci"
)

// The server is this test itself, in a process of its own.
const childDir = "REGISTRY_TEST_DIR"

// child starts a registry on dir, which collects and scrubs without end.
func child(t testing.TB, dir string) (*exec.Cmd, string) {
	t.Helper()
	server := exec.Command(os.Args[0], "-test.run=^TestKilledInTheMidstOfEverything$")
	server.Env = append(os.Environ(), childDir+"="+dir)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var url string
	if _, err := fmt.Fscanln(out, &url); err != nil {
		t.Fatal(err)
	}
	return server, url
}

func serveUntilKilled(t *testing.T, dir string) {
	c, r := start(t, Config{Dir: dir})
	fmt.Println(c.url)
	go func() {
		for {
			_, _ = r.Collect(t.Context(), CollectConfig{Grace: 2 * time.Second})
			_, _ = r.Verify(t.Context(), VerifyConfig{})
		}
	}()
	time.Sleep(time.Minute)
}

// acknowledged is what the registry said it had.
type acknowledged struct {
	mu        sync.Mutex
	manifests map[string][]byte // by path
}

func (a *acknowledged) manifest(path string, m []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.manifests[path] = m
}

// pushUntilKilled pushes images, each of a layer of its own in two chunks and
// a config that all share.
func pushUntilKilled(ctx context.Context, url string, k, i int, to *acknowledged) {
	for n := 0; ctx.Err() == nil; n++ {
		repository := fmt.Sprintf("r%d", i%7)
		layer := bytes.Repeat(fmt.Appendf(nil, "%d %d %d ", k, i, n), 500+i)
		config := []byte("{}")
		if pushAll(ctx, url, repository, layer) != nil || pushAll(ctx, url, repository, config) != nil {
			return
		}
		m := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"x/z","digest":%q,"size":%d}]}`,
			digestOf(config), digestOf(layer), len(layer))
		path := fmt.Sprintf("/v2/%s/manifests/t%d-%d-%d", repository, k, i, n)
		if status, _, err := ask(ctx, "PUT", url+path, m); err == nil && status == http.StatusCreated {
			to.manifest(path, m)
		}
	}
}

func pushAll(ctx context.Context, url, repository string, b []byte) error {
	status, at, err := ask(ctx, "POST", url+"/v2/"+repository+"/blobs/uploads/", nil)
	if err == nil && status == http.StatusAccepted {
		status, at, err = ask(ctx, "PATCH", url+at, b[:len(b)/2])
	}
	if err == nil && status == http.StatusAccepted {
		status, _, err = ask(ctx, "PUT", url+at+"?digest="+digestOf(b), b[len(b)/2:])
	}
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

func ask(ctx context.Context, method, url string, body []byte) (int, string, error) {
	q, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	q.Header.Set("Content-Type", manifestType)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, "", err
	}
	_, _ = io.Copy(io.Discard, a.Body)
	return a.StatusCode, a.Header.Get("Location"), a.Body.Close()
}

// 200 pushers, a collection and a scrub are under way when the process is
// killed. Every image that was acknowledged is there, and all that is served
// is what its name says.
func TestKilledInTheMidstOfEverything(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		serveUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	did := &acknowledged{manifests: map[string][]byte{}}
	for k := range 2 {
		server, url := child(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		var pushing sync.WaitGroup
		for i := range 200 {
			pushing.Go(func() { pushUntilKilled(ctx, url, k, i, did) })
		}
		time.Sleep(time.Second + rand.N(time.Second))
		if err := server.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = server.Wait()
		cancel()
		pushing.Wait()
	}
	if len(did.manifests) == 0 {
		t.Fatal("nothing was acknowledged before a kill: nothing was shown")
	}
	c, r := start(t, Config{Dir: dir})
	for path, m := range did.manifests {
		c.image(path, m)
	}
	found, err := r.Verify(t.Context(), VerifyConfig{})
	if err != nil || len(found.Rotten) != 0 {
		t.Errorf("got %+v and %v, want nothing rotten", found, err)
	}
	collect(t, r, CollectConfig{})
	for path, m := range did.manifests {
		c.image(path, m)
	}
	t.Logf("%d images acknowledged, %d blobs", len(did.manifests), found.Blobs)
}

// image pulls all of an image.
func (c client) image(path string, want []byte) {
	c.Helper()
	a := c.send("GET", path, nil)
	c.body(c.want(a, http.StatusOK), string(want))
	var m document
	if err := json.Unmarshal(want, &m); err != nil {
		c.Fatal(err)
	}
	for _, d := range m.every() {
		a := c.want(c.send("GET", path[:strings.Index(path, "/manifests/")]+"/blobs/"+string(d.Digest), nil), http.StatusOK)
		got, err := io.ReadAll(a.Body)
		if err != nil || digestOf(got) != string(d.Digest) {
			c.Errorf("%s: %s is %d bytes of %s, %v", path, d.Digest, len(got), digestOf(got), err)
		}
		_ = a.Body.Close()
	}
	_ = a.Body.Close()
}

// A file system of 24 MiB.
func smallDisk(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system: run as root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount a tmpfs, as root outside of a container has it: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	return dir
}

func TestAFullDiskRefusesUploadsAndGoesOnServing(t *testing.T) {
	dir := smallDisk(t)
	c, r := start(t, Config{Dir: dir})
	m := c.push("app", "v1")
	at := c.begin("app", "")
	big := c.send("PATCH", at, io.LimitReader(endless{}, 100<<20)) // of unknown length
	c.refused(big, http.StatusInsufficientStorage, "DENIED")
	c.refused(c.send("GET", at, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN") // its space is free again
	c.refused(c.send("POST", "/v2/app/blobs/uploads/?digest="+digestOf(nil), bytes.NewReader(make([]byte, 30<<20))), http.StatusInsufficientStorage, "DENIED")
	free, _, err := r.free()
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, free-1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c.refused(c.send("POST", "/v2/app/blobs/uploads/", nil), http.StatusInsufficientStorage, "DENIED")
	c.refused(c.send("PUT", "/v2/app/manifests/v2", bytes.NewReader(m)), http.StatusInsufficientStorage, "DENIED")
	c.pull("app", "v1", m)
	c.tags("/v2/app/tags/list")
	c.want(c.send("DELETE", "/v2/app/manifests/v1", nil), http.StatusAccepted)
	if did := collect(t, r, CollectConfig{Untagged: true}); did.Blobs != 3 {
		t.Errorf("collected %+v, want what v1 had", did)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	c.push("app", "v3")
}

// endless are bytes without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

func TestQuotasAreKept(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir, Quota: Quota{Total: 1000, Repository: 600}})
	blob := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	c.want(c.upload("one", blob(1, 500)), http.StatusCreated)
	c.refused(c.upload("one", blob(2, 101)), http.StatusForbidden, "DENIED")
	c.want(c.upload("one", blob(1, 500)), http.StatusCreated) // it has that
	c.want(c.send("POST", "/v2/two/blobs/uploads/?from=one&mount="+digestOf(blob(1, 500)), nil), http.StatusCreated)
	c.want(c.upload("three", blob(3, 500)), http.StatusCreated)
	c.refused(c.upload("four", blob(4, 1)), http.StatusForbidden, "DENIED")
	c.begin("five", "?from=three&mount="+digestOf(blob(5, 5)))
	unsized := struct{ io.Reader }{bytes.NewReader(blob(6, 400))}
	c.refused(c.send("POST", "/v2/six/blobs/uploads/?digest="+digestOf(blob(6, 400)), unsized), http.StatusForbidden, "DENIED")

	c.want(c.send("DELETE", "/v2/three/blobs/"+digestOf(blob(3, 500)), nil), http.StatusAccepted)
	collect(t, r, CollectConfig{Grace: time.Hour})
	c.refused(c.upload("four", blob(4, 1)), http.StatusForbidden, "DENIED")
	time.Sleep(2 * clockTick)
	collect(t, r, CollectConfig{}) // everything: no manifest names any of it
	c.want(c.upload("four", blob(4, 500)), http.StatusCreated)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	c, r = start(t, Config{Dir: dir, Quota: Quota{Total: 1000, Repository: 600}})
	c.want(c.upload("one", blob(1, 1)), http.StatusCreated)
	r.background.Wait() // what was there is counted
	c.refused(c.upload("four", blob(8, 150)), http.StatusForbidden, "DENIED")
	c.refused(c.upload("one", blob(7, 550)), http.StatusForbidden, "DENIED")
}

func TestAnUploadThatNobodyGoesOnWithExpires(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir, Expiry: 2 * time.Second})
	at, empty := c.begin("app", ""), c.begin("app", "")
	c.want(c.send("PATCH", at, strings.NewReader("some")), http.StatusAccepted)
	time.Sleep(2200 * time.Millisecond)
	c.begin("app", "")
	c.refused(c.send("GET", at, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	c.refused(c.send("GET", empty, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	if left, _ := filepath.Glob(filepath.Join(dir, ".uploads", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	at = c.begin("app", "")
	c.want(c.send("PATCH", at, strings.NewReader("some")), http.StatusAccepted)
	_ = r.Close()
	time.Sleep(2200 * time.Millisecond)
	c, _ = start(t, Config{Dir: dir, Expiry: 2 * time.Second})
	c.refused(c.send("GET", at, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
}

func TestAnUploadGoesOnAfterARestart(t *testing.T) {
	for algorithm, digest := range map[string]string{"sha256": digestOf([]byte("0123456789")), "sha512": sha512Of("0123456789")} {
		dir := t.TempDir()
		c, r := start(t, Config{Dir: dir})
		at := c.begin("app", "?digest-algorithm="+algorithm)
		c.want(c.send("PATCH", at, strings.NewReader("0123")), http.StatusAccepted)
		_ = r.Close()
		c, _ = start(t, Config{Dir: dir})
		c.header(c.want(c.send("GET", at, nil), http.StatusNoContent), "Range", "0-3")
		c.want(c.send("PATCH", at, strings.NewReader("4567"), "Content-Range: 4-7"), http.StatusAccepted)
		c.want(c.send("PUT", at+"?digest="+digest, strings.NewReader("89")), http.StatusCreated)
		c.body(c.send("GET", "/v2/app/blobs/"+digest, nil), "0123456789")
	}
}

func TestWhatAClientSentBeforeItBrokeOffIsKept(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	at := c.begin("app", "")
	broken := errors.New("broken")
	q, err := http.NewRequest("PATCH", c.url+at, io.MultiReader(strings.NewReader("0123"), errReader{broken}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultClient.Do(q); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	for range 1000 { // until the server has noticed
		if a := c.send("GET", at, nil); a.StatusCode == http.StatusNoContent && a.Header.Get("Range") == "0-3" {
			c.want(c.send("PUT", at+"?digest="+digestOf([]byte("012345")), strings.NewReader("45"), "Content-Range: 4-5"), http.StatusCreated)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the bytes are gone")
}

func TestAnUploadThatStallsBreaksOffAndCanBeGoneOnWith(t *testing.T) {
	c, r := start(t, Config{Dir: t.TempDir()})
	r.stalled = 100 * time.Millisecond
	at := c.begin("app", "")
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: r\r\nContent-Length: 6\r\n\r\n0123", at); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", answer.Status)
	}
	c.want(c.send("PUT", at+"?digest="+digestOf([]byte("012345")), strings.NewReader("45"), "Content-Range: 4-5"), http.StatusCreated)
}

func TestWhatCouldNotBeKeptIsNotCounted(t *testing.T) {
	c, r := start(t, Config{Dir: t.TempDir(), Quota: Quota{Total: 10, Repository: 10}})
	d := c.pushBlob("one", "12345678")
	c.pushBlob("two", "12345678") // which the registry holds already
	broken := errors.New("broken")
	for range 5 {
		if err := r.charge("one", oci.SHA256([]byte("ab")), 2, func() error { return broken }); !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
	c.pushBlob("one", "ab")
	c.refused(c.upload("one", []byte("c")), http.StatusForbidden, "DENIED")
	c.has("two", d, true)
}

type errReader struct{ error }

func (e errReader) Read([]byte) (int, error) { return 0, e.error }
