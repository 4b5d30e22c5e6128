package registry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A name that is valid is a folder below the registry's, and not one of the
// files that a repository consists of.
//
//fuzz:parser route.go
func FuzzName(f *testing.F) {
	f.Add("/v2/team/app/manifests/v1")
	f.Add("/v2/../../etc/blobs/uploads/")
	f.Add("/v2/a/manifests/b/blobs/c")
	f.Add("/v2/a/blobs/sha256/tags/list")
	f.Fuzz(func(t *testing.T, p string) {
		name := parsePath(p).repository
		if !validName(name) {
			return
		}
		if !filepath.IsLocal(name) || filepath.Clean(name) != name || strings.Contains("/"+name+"/", "/blobs/") {
			t.Errorf("%q gives repository %q", p, name)
		}
	})
}

// Whatever is asked, the registry answers as the specification has it, makes
// nothing outside its folder, and takes no manifest that is no JSON.
//
//fuzz:parser upload.go receive.go push.go list.go
func FuzzRequest(f *testing.F) {
	above := f.TempDir()
	dir := filepath.Join(above, "registry")
	r, err := New(Config{Dir: dir, MaxManifest: 1 << 16, MaxBlob: 1 << 16})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	empty := "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	f.Add(uint8(0), "/v2/team/app/blobs/uploads/?digest="+empty, "application/octet-stream", []byte(nil))
	f.Add(uint8(1), "/v2/team/app/manifests/v1", manifestType, []byte(`{"schemaVersion":2}`))
	f.Add(uint8(2), "/v2/team/app/blobs/"+empty, "", []byte(nil))
	f.Add(uint8(3), "/v2/team/app/blobs/uploads/x?state=eyJPZmZzZXQiOi0xfQ", "", []byte("x"))
	f.Add(uint8(0), "/v2/a/blobs/uploads/?mount="+empty+"&from=../../b", "", []byte(nil))
	f.Add(uint8(4), "/v2/a/referrers/"+empty, "", []byte(nil))
	methods := []string{http.MethodPost, http.MethodPut, http.MethodGet, http.MethodPatch, http.MethodHead, http.MethodDelete}
	f.Fuzz(func(t *testing.T, method uint8, target, mediaType string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		q := httptest.NewRequest(methods[int(method)%len(methods)], "/", bytes.NewReader(body))
		q.URL, q.RequestURI = u, target
		q.Header.Set("Content-Type", mediaType)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, q)
		if w.Code >= 500 {
			t.Errorf("%s %s: %d %s", q.Method, target, w.Code, w.Body)
		}
		if entries, _ := os.ReadDir(above); len(entries) != 1 {
			t.Errorf("%d files beside the registry's folder", len(entries)-1)
		}
		if q.Method == http.MethodPut && w.Code == http.StatusCreated && strings.Contains(u.Path, "/manifests/") && !json.Valid(body) {
			t.Errorf("took manifest %q", body)
		}
	})
}
