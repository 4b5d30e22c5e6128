package registry

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/oci"
)

// The claims here are lines of the OCI distribution specification 1.1, by the
// names that it gives them: endpoints end-1 to end-14, errors code-1 to
// code-14. https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md

// send is do with headers, given as "Name: value".
func (c client) send(method, path string, body io.Reader, headers ...string) *http.Response {
	c.Helper()
	if strings.HasPrefix(path, "/") {
		path = c.url + path
	}
	q, err := http.NewRequest(method, path, body)
	if err != nil {
		c.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Add(name, value)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { a.Body.Close() })
	return a
}

// refused wants an error body in the spec's form.
func (c client) refused(a *http.Response, status int, code string) {
	c.Helper()
	body, _ := io.ReadAll(a.Body)
	var said struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &said); err != nil || a.StatusCode != status || len(said.Errors) != 1 || said.Errors[0].Code != code || said.Errors[0].Message == "" {
		c.Errorf("%s %s: got %s %s, want %d %s", a.Request.Method, a.Request.URL, a.Status, body, status, code)
	}
	if t := a.Header.Get("Content-Type"); t != "application/json" {
		c.Errorf("%s %s: the error is sent as %q", a.Request.Method, a.Request.URL, t)
	}
}

func (c client) header(a *http.Response, name, want string) {
	c.Helper()
	if got := a.Header.Get(name); got != want {
		c.Errorf("%s %s: %s is %q, want %q", a.Request.Method, a.Request.URL, name, got, want)
	}
}

func (c client) body(a *http.Response, want string) {
	c.Helper()
	if got, err := io.ReadAll(a.Body); err != nil || string(got) != want {
		c.Errorf("%s %s: got %.200q and %v, want %.200q", a.Request.Method, a.Request.URL, got, err, want)
	}
}

// begin starts an upload and gives its location.
func (c client) begin(repository, query string) string {
	c.Helper()
	a := c.want(c.send("POST", "/v2/"+repository+"/blobs/uploads/"+query, nil), http.StatusAccepted)
	if !strings.HasPrefix(a.Header.Get("Location"), "/v2/"+repository+"/blobs/uploads/") {
		c.Fatalf("location is %q", a.Header.Get("Location"))
	}
	return a.Header.Get("Location")
}

func sha512Of(s string) string { return fmt.Sprintf("sha512:%x", sha512.Sum512([]byte(s))) }

func TestEnd1SaysThatTheAPIIsThere(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	for _, path := range []string{"/v2/", "/v2"} {
		c.want(c.send("GET", path, nil), http.StatusOK)
	}
}

func TestEnd2PullsABlobAndRangesOfIt(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	for _, d := range []string{string(c.pushBlob("app", "0123456789")), c.push512("app", "0123456789")} {
		path := "/v2/app/blobs/" + d
		a := c.want(c.send("GET", path, nil), http.StatusOK)
		c.body(a, "0123456789")
		c.header(a, "Docker-Content-Digest", d)
		head := c.want(c.send("HEAD", path, nil), http.StatusOK)
		c.header(head, "Content-Length", "10")
		c.header(head, "Docker-Content-Digest", d)
		for ask, want := range map[string]string{"bytes=2-4": "234", "bytes=7-": "789", "bytes=-2": "89", "bytes=5-1000000": "56789"} {
			c.body(c.want(c.send("GET", path, nil, "Range: "+ask), http.StatusPartialContent), want)
		}
		for _, absurd := range []string{"bytes=10-", "bytes=99999999999999999999-", "bytes=5-2", "bytes=a-b", "bytes=" + strings.Repeat("100-101,", 100) + "200-"} {
			c.refused(c.send("GET", path, nil, "Range: "+absurd), http.StatusRequestedRangeNotSatisfiable, "SIZE_INVALID")
		}
		// Ranges that sum up to more than the blob are answered with the blob.
		c.body(c.want(c.send("GET", path, nil, "Range: bytes=0-"+strings.Repeat(",0-", 1000)), http.StatusOK), "0123456789")
	}
}

func (c client) push512(repository, content string) string {
	c.Helper()
	d := sha512Of(content)
	at := c.begin(repository, "?digest-algorithm=sha512")
	c.want(c.send("PUT", at+"?digest="+d, strings.NewReader(content)), http.StatusCreated)
	return d
}

func TestEnd3PullsAManifestByTagAndDigest(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	m := c.push("app", "v1")
	for _, reference := range []string{"v1", digestOf(m)} {
		for _, accept := range []string{manifestType, "*/*", "application/vnd.other, application/*"} {
			a := c.want(c.send("GET", "/v2/app/manifests/"+reference, nil, "Accept: "+accept), http.StatusOK)
			c.body(a, string(m))
			c.header(a, "Content-Type", manifestType)
			c.header(a, "Docker-Content-Digest", digestOf(m))
		}
		head := c.want(c.send("HEAD", "/v2/app/manifests/"+reference, nil), http.StatusOK)
		c.header(head, "Content-Length", fmt.Sprint(len(m)))
		c.header(head, "Docker-Content-Digest", digestOf(m))
	}
}

// As docker's registry does for clients that know no indexes.
func TestATagOfAnIndexGivesTheImageThatTheClientTakes(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	m := c.push("app", "v1")
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ociIndex, ociImage, digestOf(m), len(m))
	c.want(c.send("PUT", "/v2/app/manifests/all", bytes.NewReader(index), "Content-Type: "+ociIndex), http.StatusCreated)
	c.body(c.want(c.send("GET", "/v2/app/manifests/all", nil, "Accept: "+ociImage), http.StatusOK), string(m))
	c.body(c.want(c.send("GET", "/v2/app/manifests/all", nil, "Accept: "+ociImage, "Accept: "+ociIndex), http.StatusOK), string(index))
	c.body(c.want(c.send("GET", "/v2/app/manifests/"+digestOf(index), nil, "Accept: "+ociImage), http.StatusOK), string(index))
}

func TestEnd4PushesABlobInOneRequest(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	for _, d := range []string{digestOf([]byte("whole")), sha512Of("whole")} {
		a := c.want(c.send("POST", "/v2/app/blobs/uploads/?digest="+d, strings.NewReader("whole")), http.StatusCreated)
		c.header(a, "Location", "/v2/app/blobs/"+d)
		c.body(c.send("GET", a.Header.Get("Location"), nil), "whole")
	}
	empty := c.want(c.send("POST", "/v2/app/blobs/uploads/?digest="+digestOf(nil), nil), http.StatusCreated)
	c.body(c.want(c.send("GET", empty.Header.Get("Location"), nil), http.StatusOK), "")
}

func TestEnd5And6PushABlobInChunks(t *testing.T) {
	for algorithm, digest := range map[string]string{"sha256": digestOf([]byte("0123456789")), "sha512": sha512Of("0123456789")} {
		c, _ := start(t, Config{Dir: t.TempDir()})
		at := c.begin("app", "?digest-algorithm="+algorithm)
		a := c.want(c.send("PATCH", at, strings.NewReader("0123"), "Content-Range: 0-3"), http.StatusAccepted)
		c.header(a, "Range", "0-3")
		a = c.want(c.send("PATCH", a.Header.Get("Location"), strings.NewReader("4567"), "Content-Range: 4-7"), http.StatusAccepted)
		c.header(a, "Range", "0-7")
		a = c.want(c.send("PUT", a.Header.Get("Location")+"?digest="+digest, strings.NewReader("89"), "Content-Range: 8-9"), http.StatusCreated)
		c.header(a, "Location", "/v2/app/blobs/"+digest)
		c.header(a, "Docker-Content-Digest", digest)
		c.body(c.send("GET", a.Header.Get("Location"), nil), "0123456789")
	}
}

func TestAChunkOutOfOrderIsRefusedAndTheUploadGoesOn(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	at := c.begin("app", "")
	c.want(c.send("PATCH", at, strings.NewReader("0123"), "Content-Range: 0-3"), http.StatusAccepted)
	for _, chunk := range []string{"0-3", "5-8", "4-9", "3-0", "99999999999999999999-4", "-4", "a-b", "bytes 4-7/8", "4"} {
		a := c.send("PATCH", at, strings.NewReader("4567"), "Content-Range: "+chunk)
		c.header(a, "Range", "0-3")
		c.refused(a, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
		c.refused(c.send("PUT", at+"?digest="+digestOf([]byte("01234567")), strings.NewReader("4567"), "Content-Range: "+chunk),
			http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
	}
	status := c.want(c.send("GET", at, nil), http.StatusNoContent) // end-13
	c.header(status, "Range", "0-3")
	c.header(status, "Location", at)
	c.want(c.send("PUT", at+"?digest="+digestOf([]byte("01234567")), strings.NewReader("4567"), "Content-Range: 4-7"), http.StatusCreated)
	c.refused(c.send("GET", at, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
}

func TestEnd7PushesAManifest(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	m := c.push("app", "v1")
	d512 := fmt.Sprintf("sha512:%x", sha512.Sum512(m))
	for _, reference := range []string{"v2", digestOf(m), d512} {
		a := c.want(c.send("PUT", "/v2/app/manifests/"+reference, bytes.NewReader(m), "Content-Type: "+manifestType+"; charset=utf-8"), http.StatusCreated)
		want := digestOf(m)
		if reference == d512 {
			want = d512
		}
		c.header(a, "Docker-Content-Digest", want)
		c.body(c.want(c.send("GET", a.Header.Get("Location"), nil), http.StatusOK), string(m))
	}
	a := c.want(c.send("PUT", "/v2/app/manifests/"+digestOf(m)+"?tag=one&tag=two", bytes.NewReader(m)), http.StatusCreated) // end-7b
	if got := a.Header.Values("OCI-Tag"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("OCI-Tag is %v", got)
	}
	c.want(c.send("GET", "/v2/app/manifests/two", nil), http.StatusOK)
}

func (c client) tags(path string) (tags []string, next string) {
	c.Helper()
	a := c.want(c.send("GET", path, nil), http.StatusOK)
	var list struct{ Tags []string }
	if err := json.NewDecoder(a.Body).Decode(&list); err != nil || list.Tags == nil {
		c.Errorf("%s: %v, %v", path, list, err)
	}
	link := a.Header.Get("Link")
	if link == "" {
		return list.Tags, ""
	}
	next, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !ok {
		c.Errorf("Link is %q", link)
	}
	return list.Tags, next
}

func TestEnd8ListsTags(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	m := c.push("app", "b")
	c.want(c.send("PUT", "/v2/app/manifests/"+digestOf(m)+"?tag=a&tag=C&tag=d&tag=a.b", bytes.NewReader(m)), http.StatusCreated)
	all := []string{"C", "a", "a.b", "b", "d"}
	for query, want := range map[string][]string{"": all, "?n=5": all, "?n=9": all, "?n=2": all[:2], "?n=0": {}, "?last=a": all[2:], "?n=1&last=a.b": {"b"},
		"?last=aa": all[3:], "?last=z": {}, "?n=-1": all, "?n=99999999999999999999": all, "?n=x": all} {
		got, next := c.tags("/v2/app/tags/list" + query)
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", query, got, want)
		}
		if more := len(want) > 0 && want[len(want)-1] != "d"; (next != "") != more {
			t.Errorf("%q: Link is %q", query, next)
		}
	}
	var paged []string
	for next := "/v2/app/tags/list?n=2"; next != ""; {
		var page []string
		page, next = c.tags(next)
		paged = append(paged, page...)
	}
	if !slices.Equal(paged, all) {
		t.Errorf("page by page: %v", paged)
	}
}

func TestEnd9And10Delete(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	m := c.push("app", "v1")
	c.want(c.send("PUT", "/v2/app/manifests/v2", bytes.NewReader(m)), http.StatusCreated)
	c.want(c.send("DELETE", "/v2/app/manifests/v1", nil), http.StatusAccepted)
	c.refused(c.send("GET", "/v2/app/manifests/v1", nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	c.want(c.send("GET", "/v2/app/manifests/v2", nil), http.StatusOK)
	c.want(c.send("DELETE", "/v2/app/manifests/"+digestOf(m), nil), http.StatusAccepted)
	c.refused(c.send("GET", "/v2/app/manifests/v2", nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	c.refused(c.send("DELETE", "/v2/app/manifests/"+digestOf(m), nil), http.StatusNotFound, "MANIFEST_UNKNOWN")
	layer := "/v2/app/blobs/" + digestOf([]byte("layer of appv1"))
	c.want(c.send("DELETE", layer, nil), http.StatusAccepted)
	c.refused(c.send("GET", layer, nil), http.StatusNotFound, "BLOB_UNKNOWN")
	c.refused(c.send("DELETE", layer, nil), http.StatusNotFound, "BLOB_UNKNOWN")
}

func TestEnd11MountsABlobWithoutCopyingIt(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	d := c.pushBlob("one", "mounted")
	a := c.want(c.send("POST", "/v2/two/three/blobs/uploads/?mount="+string(d)+"&from=one", nil), http.StatusCreated)
	c.header(a, "Location", "/v2/two/three/blobs/"+string(d))
	c.body(c.send("GET", a.Header.Get("Location"), nil), "mounted")
	if info, err := r.Pool().Stat(d); err != nil || info.Links != 3 || inPool(t, dir) != 1 {
		t.Errorf("got %+v and %v, want one file with three names", info, err)
	}
	for _, query := range []string{"?mount=" + digestOf([]byte("none")) + "&from=one", "?mount=" + string(d) + "&from=none",
		"?mount=" + string(d) + "&from=../one", "?mount=" + string(d) + "&from=two", "?mount=" + digestOf([]byte("none"))} {
		c.begin("four", query)
	}
	c.want(c.send("POST", "/v2/five/blobs/uploads/?mount="+string(d), nil), http.StatusCreated) // anybody may see it
}

func TestEnd12ListsReferrers(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	m := c.push("app", "v1")
	one, two := c.refer("app", m, "one"), c.refer("app", m, "two")
	get := func(query string) (list []Descriptor, a *http.Response) {
		a = c.want(c.send("GET", "/v2/app/referrers/"+digestOf(m)+query, nil), http.StatusOK)
		c.header(a, "Content-Type", ociIndex)
		var index struct {
			SchemaVersion int
			MediaType     string
			Manifests     []Descriptor
		}
		if err := json.NewDecoder(a.Body).Decode(&index); err != nil || index.SchemaVersion != 2 || index.MediaType != ociIndex {
			t.Errorf("got %+v and %v", index, err)
		}
		return index.Manifests, a
	}
	if all, a := get(""); len(all) != 2 || a.Header.Get("OCI-Filters-Applied") != "" {
		t.Errorf("got %v", all)
	}
	some, a := get("?artifactType=" + url.QueryEscape("test/one"))
	c.header(a, "OCI-Filters-Applied", "artifactType")
	if len(some) != 1 || string(some[0].Digest) != digestOf(one) || some[0].ArtifactType != "test/one" ||
		some[0].Annotations["about"] != "one" || some[0].Size != int64(len(one)) || some[0].MediaType != ociImage {
		t.Errorf("got %+v", some)
	}
	c.want(c.send("DELETE", "/v2/app/manifests/"+digestOf(two), nil), http.StatusAccepted)
	if all, _ := get(""); len(all) != 1 {
		t.Errorf("after one was deleted: %v", all)
	}
	put := c.send("PUT", "/v2/app/manifests/"+digestOf(one), bytes.NewReader(one), "Content-Type: "+ociImage)
	c.header(put, "OCI-Subject", digestOf(m))
	c.refused(c.send("GET", "/v2/app/referrers/sha256:x", nil), http.StatusBadRequest, "DIGEST_INVALID")
	none := c.want(c.send("GET", "/v2/app/referrers/"+digestOf(nil), nil), http.StatusOK)
	c.body(none, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ociIndex))
}

func TestEnd14CancelsAnUpload(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	at := c.begin("app", "")
	c.want(c.send("PATCH", at, strings.NewReader("some")), http.StatusAccepted)
	c.want(c.send("DELETE", at, nil), http.StatusNoContent)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		c.refused(c.send(method, at, nil), http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
	}
}

func TestEveryErrorOfTheSpec(t *testing.T) {
	denied := func(_ *http.Request, repository string, action Action) Decision {
		switch {
		case repository == "secret":
			return Decision{Verdict: Hide}
		case repository == "login":
			return Decision{Verdict: Challenge, Challenge: `Basic realm="here"`}
		case action == Delete:
			return Decision{Verdict: Forbid}
		}
		return Decision{Verdict: Allow}
	}
	c, r := start(t, Config{Dir: t.TempDir(), MaxManifest: 1 << 20, Access: accessFunc(denied)})
	m := c.push("app", "v1")
	at := c.begin("app", "")
	none := digestOf([]byte("none"))
	missing := strings.ReplaceAll(string(m), digestOf([]byte("{}")), none)
	for _, e := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/v2/app/blobs/" + none, "", 404, "BLOB_UNKNOWN"},                           // code-1
		{"PATCH", at, "", 416, "BLOB_UPLOAD_INVALID"},                                       // code-2, by its Content-Range below
		{"PATCH", "/v2/app/blobs/uploads/no-such-session", "x", 404, "BLOB_UPLOAD_UNKNOWN"}, // code-3
		{"PATCH", "/v2/other/blobs/uploads/" + at[strings.LastIndex(at, "/")+1:], "x", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"POST", "/v2/app/blobs/uploads/?digest=" + none, "other", 400, "DIGEST_INVALID"}, // code-4
		{"POST", "/v2/app/blobs/uploads/?digest=md5:d41d8cd98f00b204e9800998ecf8427e", "", 400, "DIGEST_INVALID"},
		{"POST", "/v2/app/blobs/uploads/?digest-algorithm=md5", "", 400, "DIGEST_INVALID"},
		{"PUT", at, "", 400, "DIGEST_INVALID"},
		{"GET", "/v2/app/blobs/sha256:short", "", 400, "DIGEST_INVALID"},
		{"PUT", "/v2/app/manifests/" + none, string(m), 400, "DIGEST_INVALID"},
		{"PUT", "/v2/app/manifests/v3", missing, 400, "MANIFEST_BLOB_UNKNOWN"}, // code-5
		{"PUT", "/v2/app/manifests/v3", "no json", 400, "MANIFEST_INVALID"},    // code-6
		{"PUT", "/v2/app/manifests/v3", `{"schemaVersion":1}`, 400, "MANIFEST_INVALID"},
		{"PUT", "/v2/app/manifests/v3", `{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}`, 400, "MANIFEST_INVALID"},
		{"PUT", "/v2/app/manifests/-no-tag", string(m), 400, "MANIFEST_INVALID"},
		{"GET", "/v2/app/manifests/none", "", 404, "MANIFEST_UNKNOWN"}, // code-7
		{"GET", "/v2/app/manifests/" + none, "", 404, "MANIFEST_UNKNOWN"},
		{"POST", "/v2/UPPER/blobs/uploads/", "", 400, "NAME_INVALID"},                      // code-8
		{"GET", "/v2/none/manifests/v1", "", 404, "NAME_UNKNOWN"},                          // code-9
		{"GET", "/v2/secret/manifests/v1", "", 404, "NAME_UNKNOWN"},                        // hidden
		{"POST", "/v2/secret/blobs/uploads/", "", 404, "NAME_UNKNOWN"},                     // hidden
		{"PUT", "/v2/app/manifests/v3", strings.Repeat(" ", 1<<20+1), 413, "SIZE_INVALID"}, // code-10
		{"GET", "/v2/login/tags/list", "", 401, "UNAUTHORIZED"},                            // code-11
		{"DELETE", "/v2/app/manifests/v1", "", 403, "DENIED"},                              // code-12
		{"PUT", "/v2/app/tags/list", "", 405, "UNSUPPORTED"},                               // code-13
		{"POST", "/v2/app/manifests/v1", "", 405, "UNSUPPORTED"},
		{"GET", "/v2/app/nothing", "", 404, "UNSUPPORTED"},
	} {
		headers := []string{"Content-Type: " + manifestType}
		if e.code == "BLOB_UPLOAD_INVALID" {
			headers = append(headers, "Content-Range: 7-9")
		}
		a := c.send(e.method, e.path, strings.NewReader(e.body), headers...)
		if e.code == "UNAUTHORIZED" {
			c.header(a, "WWW-Authenticate", `Basic realm="here"`)
		}
		c.refused(a, e.status, e.code)
	}
	r.uploads.live = fill(maxUploads) // code-14
	busy := c.send("POST", "/v2/app/blobs/uploads/", nil)
	c.header(busy, "Retry-After", "60")
	c.refused(busy, http.StatusTooManyRequests, "TOOMANYREQUESTS")
}

func fill(n int) map[string]*upload {
	all := map[string]*upload{}
	for i := range n {
		all[fmt.Sprint(i)] = &upload{repository: fmt.Sprint("r", i)}
	}
	return all
}

type accessFunc func(q *http.Request, repository string, action Action) Decision

func (f accessFunc) Decide(q *http.Request, repository string, action Action) Decision {
	return f(q, repository, action)
}

func TestWhatAClientMayNotSeeIsNotMountedOrListed(t *testing.T) {
	hidden := "" // nothing yet
	c, _ := start(t, Config{Dir: t.TempDir(), Access: accessFunc(func(_ *http.Request, repository string, _ Action) Decision {
		if repository != "" && repository == hidden {
			return Decision{}
		}
		return Decision{Verdict: Allow}
	})})
	c.push("open", "v1")
	c.push("secret", "v1")
	layer := digestOf([]byte("layer of secretv1"))
	hidden = "secret"
	c.begin("open", "?from=secret&mount="+layer)
	c.begin("open", "?mount="+layer)
	a := c.want(c.send("GET", "/v2/_catalog", nil), http.StatusOK)
	c.body(a, `{"repositories":["open"]}`)
	a = c.want(c.send("GET", "/v2/_catalog?n=1", nil), http.StatusOK)
	c.body(a, `{"repositories":["open"]}`)
	c.header(a, "Link", "") // it would say that there is another
}

func TestTheCatalogHasPages(t *testing.T) {
	c, _ := start(t, Config{Dir: t.TempDir()})
	for _, name := range []string{"a/b", "a", "c"} {
		c.push(name, "v1")
	}
	a := c.want(c.send("GET", "/v2/_catalog?n=2", nil), http.StatusOK)
	c.body(a, `{"repositories":["a","a/b"]}`)
	c.header(a, "Link", `</v2/_catalog?last=a%2Fb&n=2>; rel="next"`)
	c.body(c.send("GET", "/v2/_catalog?last=a%2Fb&n=2", nil), `{"repositories":["c"]}`)
}

func TestALayoutThatCannotBeWrittenHoldsUpNoOther(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	c.push("good", "v1")
	if err := os.WriteFile(filepath.Join(dir, "bad"), nil, 0o644); err != nil { // in the folder's place
		t.Fatal(err)
	}
	e, err := r.index.Tagged("good", "v1")
	if err = errors.Join(err, r.index.Put("bad", e, "v2"), r.index.Put("good", e, "v2")); err != nil {
		t.Fatal(err)
	}
	if err := r.exportStale(t.Context()); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("got %v, want an error about bad", err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "good", "index.json")); err != nil || !strings.Contains(string(raw), `"v2"`) {
		t.Errorf("got %s and %v, want v2 in it", raw, err)
	}
	if behind, err := r.index.Stale(); err != nil || len(behind) != 1 {
		t.Errorf("got %v and %v, want bad alone", behind, err)
	}
	if err := os.Remove(filepath.Join(dir, "bad")); err != nil {
		t.Fatal(err)
	}
}

// A layout that somebody else wrote, or an older version of this program, is
// served, and what this one writes is a layout again.
func TestTheFoldersAreLayouts(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	m := c.push("team/app", "v1")
	signature := c.refer("team/app", m, "signature")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{".index.db", ".blobs"} {
		removeAll(t, dir, gone)
	}
	c, r = start(t, Config{Dir: dir})
	c.pull("team/app", "v1", m)
	if list, err := r.View("team/app").Referrers(t.Context(), oci.Digest(digestOf(m)), ""); err != nil || len(list) != 1 || string(list[0].Digest) != digestOf(signature) {
		t.Errorf("got %v and %v, want the signature", list, err)
	}
}
