package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"holdfast/internal/api"
)

// A problem is a refusal that the caller is told about: an HTTP status and an
// api.ErrorInformation. Kinds are the variant names of Trustee's error type
// (kbs/src/error.rs).
type problem struct {
	status int
	kind   string
	detail string
	cause  error
	retry  string // seconds after which to ask again; optional
}

const (
	kindAdmin       = "AdminAuthAccess"
	kindAttestation = "AttestationError"
	kindPath        = "InvalidRequestPath"
	kindJWE         = "JweError"
	kindNotFound    = "PluginNotFound"
	kindInternal    = "PluginInternalError"
	kindDenied      = "PolicyDeny"
	kindPolicy      = "ParsePolicyError"
	kindReference   = "RvpsError"
	kindSerde       = "SerdeError"
	kindNoToken     = "TokenNotFound"
	kindToken       = "TokenVerifierError"
)

func (p *problem) Error() string { return p.detail }

func (p *problem) Unwrap() error { return p.cause }

func refuse(status int, kind, format string, args ...any) *problem {
	err := fmt.Errorf(format, args...)
	return &problem{status: status, kind: kind, detail: err.Error(), cause: errors.Unwrap(err)}
}

// writeProblem answers with err. What is not a problem is our own fault, whose
// details stay in the log.
func (b *Broker) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		b.log.Error("broker: request", "method", r.Method, "path", r.URL.Path, "error", err)
		p = refuse(http.StatusInternalServerError, kindInternal, "the broker could not do it: see its log")
		if errors.Is(err, syscall.ENOSPC) {
			p = refuse(http.StatusInsufficientStorage, kindInternal, "no space left where the broker keeps its state")
		}
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if p.retry != "" {
		w.Header().Set("Retry-After", p.retry)
	}
	writeJSON(w, p.status, api.ErrorInformation{Type: api.ProblemPrefix + p.kind, Detail: p.detail})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil { // every v is a struct of ours
		panic(fmt.Sprintf("broker: encode answer: %v", err))
	}
	beginJSON(w, status)
	_, _ = w.Write(append(raw, '\n'))
}

func beginJSON(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}
