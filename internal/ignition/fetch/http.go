package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/spec"
)

// Waiting between attempts, as upstream's does.
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 5 * time.Second
)

// ourHeaders are those that upstream sends, by which servers know their client.
func ourHeaders() http.Header {
	return http.Header{
		"User-Agent":      {"Ignition/2.26.0 (holdfast)"},
		"Accept":          {"application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1"},
		"Accept-Encoding": {"identity"},
	}
}

// A question is one request, with its attempts.
type question struct {
	method  string // GET when empty
	url     string
	headers http.Header // beside ours, or in their place
	body    []byte
	retry   bool  // while the server is not there, or has trouble of its own
	passing []int // status codes that are trouble of its own too
}

// answers says whether to ask again cannot change a status.
func (q question) answers(status int) bool {
	return status < http.StatusInternalServerError && !slices.Contains(q.passing, status)
}

func (q question) request(ctx context.Context) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	r.Header = ourHeaders()
	for name, values := range q.headers {
		r.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	return r, nil
}

// A StatusError is an answer without what was asked for.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server says %d %s", e.Code, http.StatusText(e.Code))
}

// get writes a body to sink.
func (f *Fetcher) get(ctx context.Context, client *http.Client, q question, sink *sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answer, err := f.ask(ctx, client, q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK, http.StatusNoContent:
	case http.StatusNotFound:
		return ErrNotFound
	default:
		return &StatusError{answer.StatusCode}
	}
	if answer.ContentLength > sink.limit {
		return fmt.Errorf("%w of %d bytes: the server announces %d", ErrTooLarge, sink.limit, answer.ContentLength)
	}
	err = sink.body(f.paced(ctx, answer.Body, cancel))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// Post sends a JSON document by the settings of a config, and tries as long as
// ctx lasts. No redirect is followed: the document is for the server named.
func (f *Fetcher) Post(ctx context.Context, settings types.Ignition, address string, body []byte) error {
	err := f.post(ctx, settings, question{method: http.MethodPost, url: address, body: body, retry: true, headers: http.Header{"Content-Type": {"application/json"}}})
	if err != nil {
		return fmt.Errorf("post to %s: %w", spec.PublicURL(address), public(err))
	}
	return nil
}

func (f *Fetcher) post(ctx context.Context, settings types.Ignition, q question) error {
	if u, err := url.Parse(q.url); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("want a URL of http or https")
	}
	client, err := f.client(ctx, settings)
	if err != nil {
		return err
	}
	answer, err := f.ask(ctx, noRedirects(client), q)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return &StatusError{answer.StatusCode}
	}
	return nil
}

// ask tries until there is an answer that trying again would not change.
func (f *Fetcher) ask(ctx context.Context, client *http.Client, q question) (*http.Response, error) {
	wait := firstWait
	var last error
	for attempt := 1; ; attempt++ {
		r, err := q.request(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := client.Do(r)
		if err == nil && q.answers(answer.StatusCode) {
			return answer, nil
		}
		if err == nil {
			_, _ = io.CopyN(io.Discard, answer.Body, 4096)
			answer.Body.Close()
			err = &StatusError{answer.StatusCode}
		}
		if !q.retry || final(err) {
			return nil, err
		}
		if ctx.Err() == nil || last == nil {
			last = err // not the deadline's own
		}
		f.Log.Info("again", "url", spec.PublicURL(q.url), "attempt", attempt, "wait", wait, "because", public(err))
		if ctx.Err() != nil || f.Wait(ctx, wait) != nil {
			return nil, gaveUp(ctx, attempt, last)
		}
		wait = min(2*wait, lastWait)
	}
}

func gaveUp(ctx context.Context, attempts int, last error) error {
	if errors.Is(last, ctx.Err()) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w, after %d attempts: %w", context.Cause(ctx), attempts, public(last))
}

// final says that trying again cannot help. A certificate that is not valid now
// may be so once the clock is right.
func final(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.Is(err, errRedirects) || errors.Is(err, errElsewhere) || errors.As(err, &authority) || errors.As(err, &host)
}

// paced ends a body that comes too slowly to ever be whole.
func (f *Fetcher) paced(ctx context.Context, r io.Reader, cancel context.CancelCauseFunc) io.Reader {
	p := &pace{r: r}
	var timer *time.Timer
	var last int64
	timer = time.AfterFunc(time.Hour, func() { // set to its time once the variable is
		n := p.n.Load()
		if n-last < 1024 && !p.writing.Load() {
			cancel(fmt.Errorf("%w: %d bytes in %v", ErrStalled, n-last, f.Stall))
			return
		}
		last = n
		if ctx.Err() == nil {
			timer.Reset(f.Stall)
		}
	})
	timer.Reset(f.Stall)
	context.AfterFunc(ctx, func() { timer.Stop() })
	return p
}

type pace struct {
	r       io.Reader
	n       atomic.Int64
	writing atomic.Bool // the reader has its bytes, and is slow itself
}

func (p *pace) Read(b []byte) (int, error) {
	p.writing.Store(false)
	n, err := p.r.Read(b)
	p.n.Add(int64(n))
	p.writing.Store(true)
	return n, err
}

var anyURL = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"]+`)

// public takes out of an error the URLs that net/http and net/url put in.
func public(err error) error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // only the outermost tells the URL
		err = u.Err
	}
	text := anyURL.ReplaceAllStringFunc(err.Error(), spec.PublicURL)
	if text == err.Error() {
		return err
	}
	return &publicError{text, err}
}

type publicError struct {
	text string
	err  error
}

func (e *publicError) Error() string { return e.text }
func (e *publicError) Unwrap() error { return e.err }
