package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// client speaks the distribution API by hand, so that each step is seen.
type client struct {
	testing.TB
	url string
}

func start(t testing.TB, c Config) (client, *Registry) {
	t.Helper()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() { server.Close(); _ = r.Close() })
	return client{t, server.URL}, r
}

func (c client) do(method, path, contentType string, body io.Reader) *http.Response {
	c.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = c.url + path
	}
	q, err := http.NewRequest(method, url, body)
	if err != nil {
		c.Fatal(err)
	}
	q.Header.Set("Content-Type", contentType)
	q.Header.Set("Accept", manifestType)
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { answer.Body.Close() })
	return answer
}

func (c client) want(answer *http.Response, status int) *http.Response {
	c.Helper()
	if answer.StatusCode != status {
		body, _ := io.ReadAll(answer.Body)
		c.Fatalf("%s %s: got %s, want %d: %s", answer.Request.Method, answer.Request.URL.Path, answer.Status, status, body)
	}
	return answer
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func (c client) upload(repository string, b []byte) *http.Response {
	c.Helper()
	begun := c.want(c.do("POST", "/v2/"+repository+"/blobs/uploads/", "", nil), http.StatusAccepted)
	to, err := begun.Location()
	if err != nil {
		c.Fatal(err)
	}
	query := to.Query()
	query.Set("digest", digestOf(b))
	to.RawQuery = query.Encode()
	return c.do("PUT", to.String(), "application/octet-stream", bytes.NewReader(b))
}

// push makes an image of one layer and gives its manifest.
func (c client) push(repository, tag string) []byte {
	c.Helper()
	config, layer := []byte("{}"), []byte("layer of "+repository+tag)
	c.want(c.upload(repository, config), http.StatusCreated)
	c.want(c.upload(repository, layer), http.StatusCreated)
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		manifestType, digestOf(config), len(config), digestOf(layer), len(layer))
	c.want(c.do("PUT", "/v2/"+repository+"/manifests/"+tag, manifestType, bytes.NewReader(manifest)), http.StatusCreated)
	return manifest
}

func (c client) pull(repository, tag string, want []byte) {
	c.Helper()
	got, _ := io.ReadAll(c.want(c.do("GET", "/v2/"+repository+"/manifests/"+tag, "", nil), http.StatusOK).Body)
	if !bytes.Equal(got, want) {
		c.Fatalf("%s:%s: got %s, want %s", repository, tag, got, want)
	}
	layer := []byte("layer of " + repository + tag)
	c.want(c.do("GET", "/v2/"+repository+"/blobs/"+digestOf(layer), "", nil), http.StatusOK)
}

func TestPushedImagesSurviveRestarts(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	manifest := c.push("team/app", "v1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c.want(c.do("GET", "/v2/", "", nil), http.StatusServiceUnavailable)
	again, _ := start(t, Config{Dir: dir})
	again.pull("team/app", "v1", manifest)
}

// The server is this test itself, killed as soon as a push was answered.
func TestAcknowledgedPushSurvivesKill(t *testing.T) {
	const variable = "REGISTRY_TEST_DIR"
	if dir := os.Getenv(variable); dir != "" {
		c, _ := start(t, Config{Dir: dir})
		fmt.Println(c.url)
		time.Sleep(time.Minute)
		return
	}
	dir := t.TempDir()
	server := exec.Command(os.Args[0], "-test.run=^TestAcknowledgedPushSurvivesKill$")
	server.Env = append(os.Environ(), variable+"="+dir)
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
	c := client{t, url}
	manifest := c.push("app", "v1")
	begun := c.want(c.do("POST", "/v2/app/blobs/uploads/", "", nil), http.StatusAccepted)
	to, _ := begun.Location()
	c.want(c.do("PATCH", to.String(), "", strings.NewReader("half a blob")), http.StatusAccepted)
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	again, _ := start(t, Config{Dir: dir})
	again.pull("app", "v1", manifest)
	half := again.want(again.do("GET", to.RequestURI(), "", nil), http.StatusNoContent)
	if got := half.Header.Get("Range"); got != "0-10" {
		t.Errorf("of the half blob there is %s, want 0-10", got)
	}
}

func TestNothingIsCollected(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	manifest := c.push("app", "v1")
	lone := []byte("a blob whose manifest comes later")
	c.want(c.upload("app", lone), http.StatusCreated)
	c.want(c.upload("empty", lone), http.StatusCreated)
	// To the library's collector, both are old and one manifest is missing.
	long := time.Unix(0, 0)
	blobs, _ := filepath.Glob(filepath.Join(dir, "*", "blobs", "sha256", "*"))
	for _, blob := range blobs {
		if err := os.Chtimes(blob, long, long); err != nil {
			t.Fatal(err)
		}
	}
	hidden := filepath.Join(dir, "app", "blobs", "sha256", digestOf(manifest)[len("sha256:"):])
	if err := os.Rename(hidden, hidden+".away"); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hidden+".away", hidden); err != nil {
		t.Fatal(err)
	}
	again, _ := start(t, Config{Dir: dir})
	again.pull("app", "v1", manifest)
	again.want(again.do("HEAD", "/v2/app/blobs/"+digestOf(lone), "", nil), http.StatusOK)
	for _, file := range []string{"index.json", "oci-layout"} {
		if _, err := os.Stat(filepath.Join(dir, "empty", file)); err != nil {
			t.Errorf("a repository without manifests: %v", err)
		}
	}
}

func TestReadOnlyServesAndRefuses(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	manifest := c.push("app", "v1")
	_ = r.Close()
	before := list(t, dir)
	c, _ = start(t, Config{Dir: dir, ReadOnly: true})
	c.pull("app", "v1", manifest)
	c.want(c.do("POST", "/v2/app/blobs/uploads/", "", nil), http.StatusForbidden)
	c.want(c.do("PUT", "/v2/app/manifests/v2", manifestType, bytes.NewReader(manifest)), http.StatusForbidden)
	if after := list(t, dir); after != before {
		t.Fatalf("files changed:\n%s\nwere\n%s", after, before)
	}
}

func list(t testing.TB, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-type", "f").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTooLargeIsRefusedHoweverItIsSent(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir(), MaxBlob: 100, MaxManifest: 1000})
	c.want(c.upload("app", make([]byte, 100)), http.StatusCreated)
	refused := c.want(c.upload("app", make([]byte, 101)), http.StatusRequestEntityTooLarge)
	var answer struct{ Errors []struct{ Code string } }
	if err := json.NewDecoder(refused.Body).Decode(&answer); err != nil || answer.Errors[0].Code != "SIZE_INVALID" {
		t.Errorf("got %v and %v, want SIZE_INVALID", answer, err)
	}
	begun := c.want(c.do("POST", "/v2/app/blobs/uploads/", "", nil), http.StatusAccepted)
	to, _ := begun.Location()
	unsized := struct{ io.Reader }{bytes.NewReader(make([]byte, 101))}
	c.want(c.do("PATCH", to.String(), "", unsized), http.StatusRequestEntityTooLarge)

	begun = c.want(c.do("POST", "/v2/app/blobs/uploads/", "", nil), http.StatusAccepted)
	to, _ = begun.Location()
	part := c.want(c.do("PATCH", to.String(), "", bytes.NewReader(make([]byte, 60))), http.StatusAccepted)
	to, _ = part.Location()
	c.want(c.do("PATCH", to.String(), "", bytes.NewReader(make([]byte, 60))), http.StatusRequestEntityTooLarge)
	c.want(c.do("PUT", "/v2/app/manifests/v1", manifestType, bytes.NewReader(make([]byte, 1001))), http.StatusRequestEntityTooLarge)
}

func TestPathsStayInTheFolder(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "registry")
	c, _ := start(t, Config{Dir: dir})
	for _, path := range []string{
		"/v2/../../x/blobs/uploads/", "/v2/%2e%2e/x/blobs/uploads/", "/v2/a/..%2f..%2f..%2fx/blobs/uploads/",
		"/v2/blobs/blobs/uploads/", "/v2/index.json/blobs/uploads/", "/v2/.lock/blobs/uploads/", "/v2/A/blobs/uploads/", "/v2/_uploads/blobs/uploads/",
	} {
		if answer := c.do("POST", path, "", nil); answer.StatusCode < 400 && !strings.HasPrefix(answer.Header.Get("Location"), "/v2/x/") {
			t.Errorf("%s: got %s", path, answer.Status)
		}
	}
	if entries, _ := os.ReadDir(outer); len(entries) != 1 {
		t.Errorf("there are %d entries beside the registry's folder", len(entries)-1)
	}
}

func TestFolderIsServedOnce(t *testing.T) {
	dir := t.TempDir()
	_, r := start(t, Config{Dir: dir})
	if _, err := New(Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want ErrInUse", err)
	}
	_ = r.Close()
	start(t, Config{Dir: dir})
}

func TestWrongBytesAreNeverStored(t *testing.T) {
	dir := t.TempDir()
	c, _ := start(t, Config{Dir: dir})
	begun := c.want(c.do("POST", "/v2/app/blobs/uploads/", "", nil), http.StatusAccepted)
	to, _ := begun.Location()
	query := to.Query()
	query.Set("digest", digestOf([]byte("announced")))
	to.RawQuery = query.Encode()
	c.want(c.do("PUT", to.String(), "", strings.NewReader("sent")), http.StatusBadRequest)
	if blobs, _ := filepath.Glob(filepath.Join(dir, "app", "blobs", "*", "*")); len(blobs) != 0 {
		t.Fatalf("stored %v", blobs)
	}
}

func TestUnknownRepositoriesCostNothing(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	for _, path := range []string{"/v2/none/manifests/v1", "/v2/none/blobs/" + digestOf(nil), "/v2/none/tags/list"} {
		c.want(c.do("GET", path, "", nil), http.StatusNotFound)
	}
	c.want(c.do("GET", "/v2/none/referrers/"+digestOf(nil), "", nil), http.StatusOK)
	c.want(c.do("POST", "/v2/app/blobs/uploads/?from=none&mount="+digestOf(nil), "", nil), http.StatusAccepted)
	if r.index.Has("none") {
		t.Error("none is remembered")
	}
	if entries, _ := filepath.Glob(filepath.Join(dir, "[a-z]*")); len(entries) != 1 {
		t.Errorf("made %v, want app alone", entries)
	}
}
