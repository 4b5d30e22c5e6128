package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/registry/index"
)

// A problem is an answer that is an error, in the words of the distribution
// spec, "Error Codes".
type problem struct {
	status  int
	code    string
	message string
	header  map[string]string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

func fail(status int, code, format string, args ...any) *problem {
	return &problem{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// with adds a header.
func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = map[string]string{}
	}
	p.header[name] = value
	return p
}

func nameUnknown() *problem {
	return fail(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
}

func blobUnknown() *problem {
	return fail(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
}

func manifestUnknown() *problem {
	return fail(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown to registry")
}

func digestInvalid(message string) *problem {
	return fail(http.StatusBadRequest, "DIGEST_INVALID", "%s", message)
}

// tooLarge closes the connection too: what else the client sends is not read.
func tooLarge(what string, limit int64) *problem {
	return fail(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "%s is larger than %d bytes", what, limit).with("Connection", "close")
}

// diskFull refuses with the status of RFC 4918, 11.5: the client did nothing
// wrong and may try again when there is room.
func diskFull() *problem {
	return fail(http.StatusInsufficientStorage, "DENIED", "the registry's disk is full").with("Connection", "close")
}

// A BusyError is what a Source returns whose upstream asks to wait.
type BusyError struct {
	After time.Duration
	Err   error
}

func (e *BusyError) Error() string { return fmt.Sprintf("busy for %v: %v", e.After, e.Err) }
func (e *BusyError) Unwrap() error { return e.Err }

// asProblem says what a client is told of an error; nil when it is ours to
// log.
func asProblem(err error) *problem {
	var p *problem
	var busy *BusyError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &busy):
		after := strconv.Itoa(max(1, int(busy.After.Round(time.Second).Seconds())))
		return fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "upstream asks to wait").with("Retry-After", after)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return diskFull()
	case errors.Is(err, index.ErrNotFound):
		return manifestUnknown()
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return blobUnknown()
	}
	return nil
}

// refuse answers with an error.
func (r *Registry) refuse(w http.ResponseWriter, q *http.Request, err error) {
	p := asProblem(err)
	if p == nil {
		p = fail(http.StatusInternalServerError, "UNKNOWN", "the registry cannot do that just now")
		if !errors.Is(err, context.Canceled) {
			r.config.Logger.Error("request fails", "method", q.Method, "path", q.URL.Path, "cause", err)
		}
	}
	p.write(w)
}

func (p *problem) write(w http.ResponseWriter) {
	for name, value := range p.header {
		w.Header().Set(name, value)
	}
	body := p.body()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.status)
	_, _ = w.Write(body)
}

func (p *problem) body() []byte {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(map[string][]entry{"errors": {{p.code, p.message}}}) // strings always marshal
	return body
}
