package registry

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// maxPage bounds a list of tags or repositories, whatever the client asks
// for: it follows the Link.
const maxPage = 10_000

// pageOf reads n and last. A number that is none is as much as one answer
// holds.
func pageOf(q url.Values) (last string, n int) {
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 0 || n > maxPage {
		n = maxPage
	}
	return q.Get("last"), n
}

// next sets the Link to the page after last (RFC 5988).
func next(w http.ResponseWriter, path string, q url.Values, last string) {
	q.Set("last", last)
	u := url.URL{Path: path, RawQuery: q.Encode()}
	w.Header().Set("Link", "<"+u.String()+`>; rel="next"`)
}

// listTags is end-8.
func (r *Registry) listTags(w http.ResponseWriter, q *http.Request, to route) error {
	if err := r.exists(to.repository); err != nil {
		return err
	}
	query := q.URL.Query()
	last, n := pageOf(query)
	tags, more, err := r.index.Tags(to.repository, last, n)
	if err != nil && !errors.Is(err, index.ErrNotFound) { // no manifest yet
		return err
	}
	if more && len(tags) > 0 {
		next(w, "/v2/"+to.repository+"/tags/list", query, tags[len(tags)-1])
	}
	return answerJSON(w, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{to.repository, append([]string{}, tags...)})
}

// catalog lists the repositories that the client may pull from. It is not of
// the distribution spec, but of the registry that came before it.
func (r *Registry) catalog(w http.ResponseWriter, q *http.Request, _ route) error {
	query := q.URL.Query()
	last, n := pageOf(query)
	list := []string{}
	for more := n > 0; more && len(list) <= n; { // one more than asked for: a Link tells of what may be seen only
		var names []string
		if names, more = r.index.Repositories(last, n+1-len(list)); len(names) == 0 {
			break
		}
		for _, name := range names {
			if r.allow(q, name, Pull) == nil {
				list = append(list, name)
			}
		}
		last = names[len(names)-1]
	}
	if len(list) > n {
		list = list[:n]
		next(w, "/v2/_catalog", query, list[n-1])
	}
	return answerJSON(w, "application/json", map[string][]string{"repositories": list})
}

// maxReferrersSize bounds a list of referrers by the size that the spec wants
// clients to take of a manifest.
const maxReferrersSize = 4 << 20

// listReferrers is end-12.
func (r *Registry) listReferrers(w http.ResponseWriter, q *http.Request, to route) error {
	d, err := parseDigest(to.arg)
	if err != nil {
		return err
	}
	// A repository that nobody has pushed to has no referrers: the spec allows
	// no 404 here, so that clients can tell a registry that lacks the endpoint.
	if err := r.exists(to.repository); err != nil && !isAbsent(err) {
		return err
	}
	r.learnReferrers(q.Context(), to.repository, d)
	query := q.URL.Query()
	only := query.Get("artifactType")
	list, more, err := r.referrers(to.repository, d, oci.Digest(query.Get("last")), only)
	if err != nil {
		return err
	}
	if only != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		next(w, "/v2/"+to.repository+"/referrers/"+string(d), query, string(list[len(list)-1].Digest))
	}
	return answerJSON(w, ociIndex, struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []Descriptor `json:"manifests"`
	}{2, ociIndex, list})
}

// referrers gives those after last that fit into an answer.
func (r *Registry) referrers(repository string, subject, last oci.Digest, only string) (list []Descriptor, more bool, err error) {
	list, left := []Descriptor{}, maxReferrersSize
	err = r.index.Referrers(repository, subject, last, func(e index.Entry) bool {
		if only != "" && e.ArtifactType != only {
			return true
		}
		d := describe(e)
		raw, err := json.Marshal(d)
		if left -= len(raw) + 1; err != nil || left < 0 && len(list) > 0 {
			more = true
			return false
		}
		list = append(list, d)
		return true
	})
	if errors.Is(err, index.ErrNotFound) {
		err = nil
	}
	return list, more, err
}

func answerJSON(w http.ResponseWriter, contentType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return ignore(err)
}

// Repositories calls visit for each repository, in order, until it returns
// false.
func (r *Registry) Repositories(visit func(name string) bool) {
	for last, more := "", true; more; {
		var names []string
		names, more = r.index.Repositories(last, maxPage)
		for _, name := range names {
			if !visit(name) {
				return
			}
			last = name
		}
	}
}

// Tags gives up to n tags of a repository after last, and whether there are
// more.
func (r *Registry) Tags(repository, last string, n int) (tags []string, more bool, err error) {
	if n <= 0 {
		n = math.MaxInt
	}
	return r.index.Tags(repository, last, n)
}
