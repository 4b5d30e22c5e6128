package registry

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/atomicfile"
)

// The library keeps what it learns of a repository in memory for good, even
// that it does not exist, and learns it without locks. So only repositories
// that exist reach it, each after one request that taught it all there is.

// nameForm is the distribution spec's grammar of repository names.
var nameForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// maxName is what a file system takes as a path, with room for the rest.
const maxName = 255

func validName(name string) bool {
	reserved := func(part string) bool { return part == "blobs" || part == "index.json" || part == "oci-layout" }
	return len(name) <= maxName && nameForm.MatchString(name) && !slices.ContainsFunc(strings.Split(name, "/"), reserved)
}

// repositoryOf takes the repository out of a path, cleaning it as the library
// does. Paths without one, as /v2/, give nothing.
func repositoryOf(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/v2/")
	end := -1
	for _, mark := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		end = max(end, strings.LastIndex(p, mark))
	}
	return p[:max(0, end)]
}

// admit lets the library see a repository, made before if the request pushes,
// and answers the request itself otherwise.
func (r *Registry) admit(w http.ResponseWriter, q *http.Request) bool {
	name := repositoryOf(q.URL.Path)
	if name == "" {
		return true
	}
	valid := validName(name)
	if !valid && !reads(q) {
		refuse(w, http.StatusBadRequest, "NAME_INVALID", "repository name is not allowed")
		return false
	}
	err := fs.ErrNotExist
	if valid {
		err = r.know(name, q.Method == http.MethodPost)
	}
	if errors.Is(err, fs.ErrNotExist) {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository does not exist")
		return false
	}
	if err != nil {
		r.config.Logger.Error("repository cannot be opened", "repository", name, "cause", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "repository cannot be opened")
		return false
	}
	r.dropUnknownMount(q)
	return true
}

// dropUnknownMount turns a mount from a repository that does not exist into
// an ordinary upload, which is what the spec says comes of it.
func (r *Registry) dropUnknownMount(q *http.Request) {
	query := q.URL.Query()
	if from := query.Get("from"); from != "" && (!validName(from) || r.know(from, false) != nil) {
		query.Del("from")
		query.Del("mount")
		q.URL.RawQuery = query.Encode()
	}
}

// know makes sure that the repository exists and that the library has read it.
func (r *Registry) know(name string, create bool) error {
	dir := filepath.Join(r.config.Dir, filepath.FromSlash(name))
	_, err := os.Stat(filepath.Join(dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) && create {
		err = r.create(dir)
	}
	if err != nil {
		return err
	}
	once, _ := r.known.LoadOrStore(name, new(sync.Once))
	once.(*sync.Once).Do(func() {
		list := httptest.NewRequest(http.MethodGet, "/v2/"+name+"/tags/list", nil)
		r.api.ServeHTTP(httptest.NewRecorder(), list)
	})
	return nil
}

func (r *Registry) create(dir string) error {
	r.making.Lock()
	defer r.making.Unlock()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	index := filepath.Join(dir, "index.json")
	if _, err := os.Stat(index); err == nil {
		return nil
	}
	layout := `{"imageLayoutVersion":"1.0.0"}`
	if err := atomicfile.WriteFile(filepath.Join(dir, "oci-layout"), []byte(layout), 0o644); err != nil {
		return err
	}
	return atomicfile.WriteFile(index, []byte(emptyIndex), 0o644)
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
