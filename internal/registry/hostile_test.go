package registry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

func TestNamesThatAreNoneGetTheSpecsError(t *testing.T) {
	outer := t.TempDir()
	c, _ := start(t, Config{Dir: filepath.Join(outer, "registry")})
	for _, name := range []string{"..", "../x", "a/../../x", "%2e%2e/x", "a/..%2f..%2fx", "a//b", "a/", "/a", "a/.", ".blobs", ".uploads", ".index.db", ".lock", "A",
		"a/blobs", "blobs/a", "index.json", "a/oci-layout", "a%00b", "a b", "a\tb", "ä", "a/" + strings.Repeat("b/", 200) + "c", strings.Repeat("a", 256), "-a", "a-", "a..b", "a___b"} {
		name = strings.NewReplacer(" ", "%20", "\t", "%09").Replace(name)
		c.refused(raw(c, "POST", "/v2/"+name+"/blobs/uploads/"), http.StatusBadRequest, "NAME_INVALID")
		c.refused(raw(c, "GET", "/v2/"+name+"/manifests/v1"), http.StatusNotFound, "NAME_UNKNOWN")
	}
	for _, reference := range []string{"..", "%2e%2e%2f%2e%2e%2fetc", "sha256:..%2f..%2fx", "sha256:" + strings.Repeat("A", 64), strings.Repeat("x", 129)} {
		a := raw(c, "GET", "/v2/app/manifests/"+reference)
		if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", reference, a.Status)
		}
	}
	for _, session := range []string{"..", "x", strings.Repeat("0", 36)} {
		c.refused(raw(c, "PATCH", "/v2/app/blobs/uploads/"+session), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	}
	if entries, _ := os.ReadDir(outer); len(entries) != 1 {
		t.Errorf("%d files beside the registry's folder", len(entries)-1)
	}
	if made, _ := filepath.Glob(filepath.Join(outer, "registry", "[a-z]*")); len(made) != 0 {
		t.Errorf("made %v", made)
	}
}

// raw sends a path as it is.
func raw(c client, method, path string) *http.Response {
	c.Helper()
	q, err := http.NewRequest(method, c.url, nil)
	if err != nil {
		c.Fatal(err)
	}
	q.URL.Opaque = path
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		c.Fatalf("%s %s: %v", method, path, err)
	}
	c.Cleanup(func() { a.Body.Close() })
	return a
}

// heap is what is in use, once what is not was let go.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// taken is how many bytes do makes the process ask for.
func taken(do func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestAManifestOf100MBIsRefusedInLittleMemory(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	c.push("app", "v1")
	got := taken(func() {
		c.refused(c.send("PUT", "/v2/app/manifests/big", io.LimitReader(endless{}, 100e6)), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		sized, err := http.NewRequest("PUT", c.url+"/v2/app/manifests/big", io.LimitReader(endless{}, 100e6))
		if err != nil {
			t.Fatal(err)
		}
		sized.ContentLength = 100e6
		a, err := http.DefaultClient.Do(sized)
		if err == nil { // else the connection was closed before all was sent
			c.refused(a, http.StatusRequestEntityTooLarge, "SIZE_INVALID")
			_ = a.Body.Close()
		}
	})
	if got > 40<<20 {
		t.Errorf("took %d MiB", got>>20)
	}
}

func TestThoseWhoSendNothingDoNotKeepOthersOut(t *testing.T) {
	c, r := start(t, Config{Dir: t.TempDir()})
	r.slowest = time.Second
	for range maxBig {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: r\r\nContent-Length: 1000000\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; len(r.big) < maxBig && n < 500; n++ { // until all places are taken
		time.Sleep(time.Millisecond)
	}
	body := struct{ io.Reader }{strings.NewReader("{}")} // of unknown length
	c.refused(c.send("PUT", "/v2/app/manifests/v2", body), http.StatusBadRequest, "MANIFEST_INVALID")
}

func TestAnEndlessUploadIsRefusedInLittleMemory(t *testing.T) {
	dir := t.TempDir()
	c, _ := start(t, Config{Dir: dir, MaxBlob: 20 << 20})
	at := c.begin("app", "")
	got := taken(func() {
		c.refused(c.send("PATCH", at, endless{}), http.StatusRequestEntityTooLarge, "SIZE_INVALID")
	})
	if got > 10<<20 {
		t.Errorf("took %d MiB", got>>20)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".uploads", "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	for range maxInRepository + 50 {
		c.begin("many", "")
	}
	if n := strings.Count(fmt.Sprint(sessions(t, c, "many")), "many"); n > maxInRepository {
		t.Errorf("%d uploads of a repository are under way", n)
	}
}

func sessions(t testing.TB, c client, repository string) (open []string) {
	t.Helper()
	for range 3 {
		at := c.begin(repository, "")
		if c.send("GET", at, nil).StatusCode == http.StatusNoContent {
			open = append(open, at)
		}
	}
	return open
}

// Tags cost disk and no memory: pushes, pulls and pages are answered from a
// million of them as from ten.
func TestAMillionTagsAreListedInLittleMemory(t *testing.T) {
	tags := 1_000_000
	if testing.Short() || os.Getenv("HOLDFAST_SOAK") == "" {
		tags = 200_000
	}
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	m := c.push("app", "first")
	all := make([]string, tags)
	for i := range all {
		all[i] = fmt.Sprintf("v%07d", i)
	}
	before := heap()
	for i := 0; i < tags; i += 10_000 {
		if err := r.index.Put("app", index.Entry{Digest: oci.Digest(digestOf(m)), MediaType: ociImage, Size: int64(len(m))}, all[i:i+10_000]...); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 30<<20 {
		t.Errorf("%d MiB of memory for %d tags", grown>>20, tags)
	}
	got := taken(func() {
		list, next := c.tags("/v2/app/tags/list")
		if len(list) != maxPage || next == "" {
			t.Errorf("got %d tags and Link %q, want a page of them", len(list), next)
		}
		list, _ = c.tags("/v2/app/tags/list?n=3&last=" + all[tags-2])
		if len(list) != 1 || list[0] != all[tags-1] {
			t.Errorf("the last page: %v", list)
		}
		c.pull("app", "first", m)
		c.want(c.send("PUT", "/v2/app/manifests/another", strings.NewReader(string(m))), http.StatusCreated)
	})
	if got > 30<<20 {
		t.Errorf("a page, a pull and a push took %d MiB", got>>20)
	}
}

// Documents that are deep, or many, are refused or bounded.
//
//fuzz:parser document.go
func FuzzManifest(f *testing.F) {
	config := `{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}`
	f.Add("", []byte(`{"schemaVersion":2,"config":`+config+`,"layers":[]}`))
	f.Add(ociIndex, []byte(`{"schemaVersion":2,"manifests":[`+config+`]}`))
	f.Add(dockerImage, []byte(`{"schemaVersion":2,"mediaType":"`+dockerImage+`","config":`+config+`,"subject":`+config+`}`))
	f.Add(ociImage, []byte(strings.Repeat("[", 20_000)))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		m, err := parseDocument(contentType, body)
		var p *problem
		if err != nil {
			if !errors.As(err, &p) || p.code != "MANIFEST_INVALID" {
				t.Errorf("refused with %v", err)
			}
			return
		}
		for _, d := range m.every() {
			if _, err := oci.ParseDigest(string(d.Digest)); err != nil || d.Size < 0 {
				t.Errorf("took a descriptor %+v", d)
			}
		}
		if isIndexType(m.MediaType) == (m.Config != nil) {
			t.Errorf("took %q for %s", body, m.MediaType)
		}
	})
}

// A range that is taken is one that the spec's form describes.
//
//fuzz:parser receive.go:parseRange
func FuzzRange(f *testing.F) {
	for _, s := range []string{"0-0", "5-9", "9-5", "-", "1-", "00-01", "+1-2", "9223372036854775807-9223372036854775808", "0-1-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, to, ok := parseRange(s)
		if ok && (from < 0 || to < from) {
			t.Errorf("%q is %d to %d", s, from, to)
		}
		digits := strings.Trim(s, "0123456789")
		if ok && digits != "-" {
			t.Errorf("took %q", s)
		}
	})
}
