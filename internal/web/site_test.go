package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/registry"
	"holdfast/internal/wiring"
)

// A shelf is a registry with the site over it.
type shelf struct {
	testing.TB
	registry *registry.Registry
	url      string
}

// allow says of each repository whether a client without a name may see it;
// others may see all.
type allow func(repository string) bool

func (a allow) Decide(q *http.Request, repository string, action registry.Action) registry.Decision {
	_, _, named := q.BasicAuth()
	if named || action == registry.List || repository == "" || a(repository) {
		return registry.Decision{Verdict: registry.Allow}
	}
	return registry.Decision{}
}

func newShelf(t testing.TB, access allow) *shelf {
	t.Helper()
	config := registry.Config{Dir: t.TempDir()}
	if access != nil {
		config.Access = access
	}
	r, err := registry.New(config)
	if err != nil {
		t.Fatal(err)
	}
	site := &Site{Registry: r, Version: "1", Facts: func(q *http.Request) wiring.Facts {
		return wiring.Facts{Since: time.Now(), Registry: q.Host, Rules: access != nil, KeptMore: true, Kept: []wiring.KeptFacts{
			{Digest: "sha256:" + strings.Repeat("5a", 32), CID: "bafkrei" + strings.Repeat("x", 52), Size: 13},
			{Digest: "sha256:" + strings.Repeat("6b", 32), Size: 3 << 20},
		}}
	}}
	mux := http.NewServeMux()
	mux.Handle("/v2/", r)
	mux.Handle("/", site.Handler())
	server := httptest.NewServer(mux)
	t.Cleanup(func() { server.Close(); _ = r.Close() })
	return &shelf{TB: t, registry: r, url: server.URL}
}

func (s *shelf) send(method, path, mediaType string, body []byte) *http.Response {
	s.Helper()
	q, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	q.Header.Set("Content-Type", mediaType)
	q.SetBasicAuth("owner", "x")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(res.Body)
		s.Fatalf("%s %s: %s: %s", method, path, res.Status, said)
	}
	return res
}

type object = map[string]any

func (s *shelf) blob(repository string, content []byte) object {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	s.send(http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+digest, "application/octet-stream", content)
	return object{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd+encrypted", "digest": digest, "size": len(content)}
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// image pushes a manifest, with what more says, and gives its digest.
func (s *shelf) image(repository, tag string, more object) string {
	s.Helper()
	layer := s.blob(repository, []byte(repository+tag))
	m := object{"schemaVersion": 2, "mediaType": manifestType, "config": layer, "layers": []object{layer, layer}}
	for name, value := range more {
		m[name] = value
	}
	raw, err := json.Marshal(m)
	if err != nil {
		s.Fatal(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
	if tag == "" {
		tag = digest
	}
	s.send(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, manifestType, raw)
	return digest
}

// read gives a page to somebody, without a name if it is empty.
func (s *shelf) read(path, name string) (int, string, http.Header) {
	s.Helper()
	q, err := http.NewRequest(http.MethodGet, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	if name != "" {
		q.SetBasicAuth(name, "x")
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func (s *shelf) shows(path string, wanted ...string) {
	s.Helper()
	status, page, _ := s.read(path, "")
	if status != http.StatusOK {
		s.Errorf("%s: %d", path, status)
	}
	for _, want := range wanted {
		if !strings.Contains(page, want) {
			s.Errorf("%s lacks %q", path, want)
		}
	}
}

func TestTheSiteShowsTagsSizesAndTheTree(t *testing.T) {
	s := newShelf(t, nil)
	image := s.image("team/app", "1.0", nil)
	subject := object{"mediaType": manifestType, "digest": image, "size": 1}
	sbom := s.image("team/app", "", object{"artifactType": "application/spdx+json", "subject": subject})
	signature := s.image("team/app", "", object{"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"subject": object{"mediaType": manifestType, "digest": sbom, "size": 1}})
	s.shows("/", `href="/repository/team/app"`)
	s.shows("/?q=eam/a", "team/app")
	s.shows("/repository/team/app", `href="/image/team/app:1.0"`, "encrypted", "image", shortDigest(image))
	s.shows("/image/team/app:1.0", image, ">SBOM</a>", "/image/team/app@"+sbom, ">signature</a>", "/image/team/app@"+signature, "zstd, encrypted", "2 layers")
	s.shows("/image/team/app@"+sbom, ">signature</a>")
}

func TestAPageOfManyTagsLeadsToTheNext(t *testing.T) {
	s := newShelf(t, nil)
	for i := range rows + 5 {
		s.image("many", fmt.Sprintf("v%03d", i), nil)
	}
	s.shows("/repository/many", `href="/repository/many?after=v049"`, ">v049</a>")
	s.shows("/repository/many?after=v049", ">v054</a>")
	if _, page, _ := s.read("/repository/many?after=v049", ""); strings.Contains(page, "rel=\"next\"") || strings.Contains(page, ">v049<") {
		t.Error("the last page leads on, or begins too early")
	}
}

func TestWhoMayNotPullDoesNotSee(t *testing.T) {
	s := newShelf(t, func(repository string) bool { return repository == "open" })
	s.image("open", "1", nil)
	s.image("hidden", "1", nil)
	s.shows("/", ">open</a>", "Log in")
	if _, page, _ := s.read("/", ""); strings.Contains(page, "hidden") {
		t.Error("a hidden repository is listed")
	}
	_, none, header := s.read("/repository/hidden", "")
	if header.Get("WWW-Authenticate") == "" {
		t.Error("who has no name is not asked for one")
	}
	if _, absent, _ := s.read("/repository/absent", ""); none != absent {
		t.Error("a hidden repository looks different from an absent one")
	}
	if status, page, _ := s.read("/repository/hidden", "owner"); status != http.StatusOK || !strings.Contains(page, "/image/hidden:1") {
		t.Errorf("its owner sees %d", status)
	}
}

func TestHostileNamesAreOnlyText(t *testing.T) {
	s := newShelf(t, nil)
	const evil = `</td><script>alert(1)</script>`
	s.image("app", "1", object{"annotations": object{evil: evil}, "artifactType": "text/html;" + evil})
	for _, path := range []string{"/image/app:1", "/?q=" + "%3Cscript%3Ealert(1)%3C/script%3E", "/repository/%3Cscript%3E", "/image/app:%3Cscript%3E", "/%3Cscript%3E"} {
		_, page, header := s.read(path, "")
		if strings.Contains(page, "<script") {
			t.Errorf("%s carries a script", path)
		}
		if !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: policy is %q", path, header.Get("Content-Security-Policy"))
		}
	}
}

// An index may list thousands of manifests, each an index of thousands.
func TestATreeIsBounded(t *testing.T) {
	s := newShelf(t, nil)
	list := []object{}
	for i := range maxBranches + 20 {
		digest := s.image("app", "", object{"annotations": object{"n": fmt.Sprint(i)}})
		list = append(list, object{"mediaType": manifestType, "digest": digest, "size": 1})
	}
	const indexType = "application/vnd.oci.image.index.v1+json"
	raw, err := json.Marshal(object{"schemaVersion": 2, "mediaType": indexType, "manifests": list})
	if err != nil {
		t.Fatal(err)
	}
	s.send(http.MethodPut, "/v2/app/manifests/all", indexType, raw)
	_, page, _ := s.read("/image/app:all", "")
	if n := strings.Count(page, `class="node"`); n > maxBranches+1 || !strings.Contains(page, "more than is drawn") {
		t.Errorf("%d are drawn", n)
	}
}
