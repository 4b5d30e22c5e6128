package registry

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// ServeHTTP answers one request of the distribution API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a := &answer{ResponseWriter: w, head: q.Method == http.MethodHead}
	to := parsePath(q.URL.Path)
	if r.config.Observer != nil {
		defer r.observe(a, q, to, time.Now())
	}
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if err := r.serve(a, q, to); err != nil {
		r.refuse(a, q, err)
	}
}

func (r *Registry) serve(w http.ResponseWriter, q *http.Request, to route) error {
	if r.closed {
		return fail(http.StatusServiceUnavailable, "UNSUPPORTED", "registry is shutting down").with("Retry-After", "5")
	}
	op, err := find(q.Method, to)
	if err != nil {
		return err
	}
	if ns := q.URL.Query().Get("ns"); ns != "" {
		to.repository = r.under(ns, to.repository)
	}
	if err := r.allow(q, to.repository, op.action); err != nil {
		return err
	}
	if err := r.admit(to.repository, op.action); err != nil {
		return err
	}
	return op.serve(r, w, q, to)
}

// under gives the repository that stands for one of another registry.
func (r *Registry) under(namespace, repository string) string {
	for _, s := range r.config.Sources {
		if prefix, ok := s.Prefix(namespace); ok {
			return prefix + "/" + repository
		}
	}
	return repository
}

func (r *Registry) allow(q *http.Request, repository string, action Action) error {
	if r.config.Access == nil {
		return nil
	}
	d := r.config.Access.Decide(q, repository, action)
	switch d.Verdict {
	case Allow:
		return nil
	case Challenge:
		return fail(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", d.Challenge)
	case Forbid:
		return fail(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	}
	return nameUnknown()
}

// admit refuses names that cannot be and changes that may not be.
func (r *Registry) admit(repository string, action Action) error {
	switch {
	case action == Ping, action == List:
		return nil
	case validName(repository):
	case action == Pull:
		return nameUnknown()
	default:
		return fail(http.StatusBadRequest, "NAME_INVALID", "invalid repository name")
	}
	if r.config.ReadOnly && action != Pull {
		return fail(http.StatusForbidden, "DENIED", "registry is read-only")
	}
	return nil
}

func (r *Registry) ping(w http.ResponseWriter, _ *http.Request, _ route) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "2")
	_, err := io.WriteString(w, "{}")
	return ignore(err)
}

// ignore is for writes to a client who may have gone away.
func ignore(error) error { return nil }

func (r *Registry) observe(a *answer, q *http.Request, to route, since time.Time) {
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	r.config.Observer.Request(Answered{
		Operation: to.kind + " " + methodOf(q.Method), Repository: to.repository, Status: status,
		Received: max(0, q.ContentLength), Sent: a.sent, Took: time.Since(since),
	})
}

// methodOf bounds how many operations an Observer can see.
func methodOf(method string) string {
	switch method {
	case "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE":
		return method
	}
	return "other"
}

// An answer counts what is sent, and says in the spec's words what net/http
// says in its own.
type answer struct {
	http.ResponseWriter
	status int
	sent   int64
	head   bool
	mute   bool // net/http's own text follows, which was replaced
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	if status == http.StatusRequestedRangeNotSatisfiable && a.Header().Get("Content-Type") != "application/json" {
		a.mute = true
		p := fail(status, "SIZE_INVALID", "the range is not within the content")
		body := p.body()
		a.Header().Set("Content-Type", "application/json")
		a.Header().Del("Content-Length")
		a.ResponseWriter.WriteHeader(status)
		_, _ = a.ResponseWriter.Write(body)
		return
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.mute {
		return len(p), nil
	}
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// ReadFrom lets the kernel copy a file to the connection.
func (a *answer) ReadFrom(src io.Reader) (int64, error) {
	if a.mute {
		return io.Copy(io.Discard, src)
	}
	n, err := io.Copy(a.ResponseWriter, src)
	a.sent += n
	return n, err
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
