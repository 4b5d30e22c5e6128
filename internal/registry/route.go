package registry

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/oci"
)

// nameForm is the distribution spec's grammar of repository names.
var nameForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// tagForm is its grammar of tags.
var tagForm = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// maxName is what a file system takes as a path, with room for the rest.
const maxName = 255

// reserved are the names in a layout's folder, which no part of a
// repository's name may have.
var reserved = []string{"blobs", "index.json", "oci-layout"}

func validName(name string) bool {
	return len(name) <= maxName && nameForm.MatchString(name) &&
		!slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return slices.Contains(reserved, part) })
}

// A route is what the path of a request names.
type route struct {
	kind       string // ping, catalog, blob, uploads, upload, manifest, tags or referrers
	repository string
	arg        string // digest, tag or session
}

// parsePath takes a path apart by its end: repositories may have names like
// a/manifests/b. What is no path of the API gives the zero route.
func parsePath(path string) route {
	rest, ok := strings.CutPrefix(path, "/v2")
	switch {
	case !ok:
		return route{}
	case rest == "", rest == "/":
		return route{kind: "ping"}
	case rest == "/_catalog":
		return route{kind: "catalog"}
	}
	parts := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	n := len(parts)
	at := func(i int) string {
		if n < i+1 { // one part at least is the name
			return ""
		}
		return parts[n-i]
	}
	name := func(tail int) string { return strings.Join(parts[:n-tail], "/") }
	switch {
	case at(3) == "blobs" && at(2) == "uploads" && at(1) == "":
		return route{"uploads", name(3), ""}
	case at(2) == "blobs" && at(1) == "uploads":
		return route{"uploads", name(2), ""}
	case at(3) == "blobs" && at(2) == "uploads":
		return route{"upload", name(3), at(1)}
	case at(2) == "blobs":
		return route{"blob", name(2), at(1)}
	case at(2) == "manifests":
		return route{"manifest", name(2), at(1)}
	case at(2) == "tags" && at(1) == "list":
		return route{"tags", name(2), ""}
	case at(2) == "referrers":
		return route{"referrers", name(2), at(1)}
	}
	return route{}
}

// A handler answers one request, or returns what went wrong before it did.
type handler func(r *Registry, w http.ResponseWriter, q *http.Request, to route) error

type operation struct {
	action Action
	serve  handler
}

// operations are the endpoints of the distribution spec.
var operations = map[string]map[string]operation{
	"ping":      {"GET": {Ping, (*Registry).ping}},                                                // end-1
	"blob":      {"GET": {Pull, (*Registry).getBlob}, "DELETE": {Delete, (*Registry).deleteBlob}}, // end-2, end-10
	"manifest":  {"GET": {Pull, (*Registry).getManifest}, "PUT": {Push, (*Registry).putManifest}, "DELETE": {Delete, (*Registry).deleteManifest}},
	"uploads":   {"POST": {Push, (*Registry).beginUpload}}, // end-4, end-11
	"upload":    {"PATCH": {Push, (*Registry).patchUpload}, "PUT": {Push, (*Registry).putUpload}, "GET": {Push, (*Registry).getUpload}, "DELETE": {Push, (*Registry).cancelUpload}},
	"tags":      {"GET": {Pull, (*Registry).listTags}},      // end-8
	"referrers": {"GET": {Pull, (*Registry).listReferrers}}, // end-12
	"catalog":   {"GET": {List, (*Registry).catalog}},
}

// find gives the operation of a request; HEAD is GET without a body.
func find(method string, to route) (operation, error) {
	methods, ok := operations[to.kind]
	if !ok {
		return operation{}, fail(http.StatusNotFound, "UNSUPPORTED", "no such endpoint")
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	op, ok := methods[method]
	if !ok {
		allowed := []string{}
		for m := range methods {
			allowed = append(allowed, m)
		}
		slices.Sort(allowed)
		return operation{}, fail(http.StatusMethodNotAllowed, "UNSUPPORTED", "the endpoint does not know %s", methodName(method)).
			with("Allow", strings.Join(allowed, ", "))
	}
	return op, nil
}

// methodName keeps what a client calls a method short.
func methodName(m string) string { return m[:min(len(m), 16)] }

// isDigest tells a digest from a tag, whether it is a good one or not.
func isDigest(reference string) bool { return strings.Contains(reference, ":") }

func parseDigest(s string) (oci.Digest, error) {
	d, err := oci.ParseDigest(s)
	if err != nil {
		return "", digestInvalid(err.Error())
	}
	return d, nil
}
