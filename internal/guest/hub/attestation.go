package hub

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// notExtended is api-server-rest's answer where no runtime measurement is
// taken. Here none ever is: a workload that could extend PCRs could change what
// policy judges its machine by.
const notExtended = `{"success":"false","message": "Attestation Agent does not enable eventlog recording"}`

// maxEvent bounds a body that is looked at and thrown away.
const maxEvent = 64 << 10

func (h *hub) attestation(w http.ResponseWriter, r *http.Request, path string) {
	q := parseQuery(r.URL.RawQuery)
	switch r.Method + " " + path {
	case "GET /token":
		h.token(w, r, q)
	case "GET /evidence":
		h.evidence(w, r, q)
	case "GET /additional-evidence":
		if _, ok := runtimeData(q); !ok {
			badRequest(w)
			return
		}
		send(w, nil, nil) // there is no second device
	case "POST /aael":
		h.event(w, r)
	default:
		notFound(w)
	}
}

// token is GET /aa/token?token_type=kbs. The names in the answer are those of
// attestation-agent/src/token/kbs.rs.
func (h *hub) token(w http.ResponseWriter, r *http.Request, q map[string]string) {
	kind, ok := q["token_type"]
	if !ok {
		badRequest(w)
		return
	}
	if kind != "kbs" {
		send(w, nil, fmt.Errorf("token type %.40q is not supported: want kbs", kind))
		return
	}
	token, key, err := h.Attestation.Token(r.Context())
	if err != nil {
		send(w, nil, err)
		return
	}
	raw, err := json.Marshal(struct {
		Token string `json:"token"`
		Key   string `json:"tee_keypair"`
	}{token, string(key)})
	send(w, raw, err)
}

// evidence is GET /aa/evidence?runtime_data=…[&encoding=base64].
func (h *hub) evidence(w http.ResponseWriter, r *http.Request, q map[string]string) {
	data, ok := runtimeData(q)
	if !ok {
		badRequest(w)
		return
	}
	evidence, err := h.Attestation.Evidence(r.Context(), data)
	send(w, evidence, err)
}

// runtimeData is the query's, as api-server-rest/src/utils.rs decodes it.
func runtimeData(q map[string]string) ([]byte, bool) {
	data, ok := q["runtime_data"]
	encoding, encoded := q["encoding"]
	switch {
	case !ok:
		return nil, false
	case !encoded:
		return []byte(data), true
	case encoding != "base64":
		return nil, false
	}
	for _, c := range data { // which Go's decoder would skip
		if c == '\r' || c == '\n' {
			return nil, false
		}
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(data)
	return raw, err == nil
}

// event is POST /aa/aael.
func (h *hub) event(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil {
		send(w, nil, err)
		return
	}
	var event struct{ Domain, Operation, Content *string }
	if err := json.Unmarshal(body, &event); err != nil || event.Domain == nil || event.Operation == nil || event.Content == nil {
		send(w, nil, fmt.Errorf("event: want an object with domain, operation and content, texts each"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, notExtended)
}

func badRequest(w http.ResponseWriter) { say(w, http.StatusBadRequest, "BAD REQUEST") }
