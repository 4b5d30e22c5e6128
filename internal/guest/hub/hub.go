// Package hub answers a workload's questions over HTTP as the guest components
// of Confidential Containers do (api-server-rest), so that workloads written for
// them find here what they know.
//
// It gives a workload nothing by itself: a resource is the broker's to release,
// and what the measured configuration does not list is not there. Nothing a
// workload asks for changes what the machine will prove of itself.
//
// The API: docs/formats/guest-api.md.
package hub

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Attestation is what a workload may know of its machine's proof.
type Attestation interface {
	// TEE is the kind of evidence, by its KBS name.
	TEE() string
	// Token is a broker's token and, as PEM, the private key that it is bound to.
	Token(ctx context.Context) (token string, key []byte, err error)
	// Evidence is bound to data, and of no use in a handshake with a broker.
	Evidence(ctx context.Context, data []byte) ([]byte, error)
}

// Config says which features there are: those that are not nil.
type Config struct {
	Version string // of what answers
	// Resource is the content of kbs:///REPOSITORY/TYPE/TAG.
	Resource    func(ctx context.Context, uri string) ([]byte, error)
	Attestation Attestation
}

// feature is the word that api-server-rest is started with.
func (c Config) feature() string {
	switch {
	case c.Attestation == nil:
		return "resource"
	case c.Resource == nil:
		return "attestation"
	}
	return "all"
}

// New returns the API's handler.
//
// Statuses and bodies are those of api-server-rest/src/router.rs, whose routing
// looks at the path as it was sent: its first segment, then the rest.
func New(c Config) http.Handler { return &hub{c} }

type hub struct{ Config }

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !fromInside(r.RemoteAddr) {
		say(w, http.StatusForbidden, "Forbidden")
		return
	}
	path := r.URL.EscapedPath()
	if path == "/info" {
		h.info(w, r)
		return
	}
	root, rest := split(path)
	switch root {
	case "/aa":
		if h.Attestation == nil {
			say(w, http.StatusNotFound, "Attestation Feature Not Enabled")
			return
		}
		h.attestation(w, r, rest)
	case "/cdh":
		if h.Config.Resource == nil {
			say(w, http.StatusNotFound, "Resource Feature Not Enabled")
			return
		}
		h.resource(w, r, rest)
	default:
		notFound(w)
	}
}

// split cuts a path behind its first segment; without a second slash there is
// no first segment.
func split(path string) (first, rest string) {
	if !strings.HasPrefix(path, "/") {
		return "", ""
	}
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[:1+i], path[1+i:]
	}
	return "", ""
}

func fromInside(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// info is GET /info.
func (h *hub) info(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		say(w, http.StatusMethodNotAllowed, "Method Not Allowed")
		return
	}
	answer := struct {
		Version string `json:"version"`
		TEE     string `json:"tee,omitempty"`
		Feature string `json:"feature"`
	}{Version: h.Version, Feature: h.feature()}
	if h.Attestation != nil {
		answer.TEE = h.Attestation.TEE()
	}
	sendJSON(w, answer)
}

// resource is /cdh/resource/REPOSITORY/TYPE/TAG, by any method.
func (h *hub) resource(w http.ResponseWriter, r *http.Request, path string) {
	first, name := split(path)
	if first != "/resource" {
		notFound(w)
		return
	}
	content, err := h.Config.Resource(r.Context(), "kbs://"+name)
	send(w, content, err)
}

func notFound(w http.ResponseWriter) { say(w, http.StatusNotFound, "URL NOT FOUND") }

// say answers without a type of content.
func say(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = nil // or net/http would guess
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // nobody is left to be told
}

// send answers with bytes, or with why there are none: the workload is told
// what the broker told its machine.
func send(w http.ResponseWriter, content []byte, err error) {
	if err != nil {
		say(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(content)
}

func sendJSON(w http.ResponseWriter, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		say(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}
