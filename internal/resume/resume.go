// Package resume reads what lies at a URL, going on where a connection broke
// off.
//
// A reader sees one stream of bytes, whatever happened on the way: a broken
// connection, one that stands still and a server that is busy for a while are
// met by asking again for the rest. Nobody believes the bytes for that: what
// they are is checked by the reader, as a whole, by their hash.
package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/input"
)

// ErrRange says that there is nothing at the offset: what was received before
// is of something else.
var ErrRange = errors.New("there is nothing at that offset")

// A StatusError is a server's answer that has no content.
type StatusError struct {
	Code   int
	Status string // "404 Not Found"
}

func (e *StatusError) Error() string { return e.Status }

// A Getter reads URLs. The zero value is useful.
type Getter struct {
	Client  *http.Client  // default: http.DefaultClient
	Backoff time.Duration // before the second try, doubled with each further one; default 300 ms
	Stall   time.Duration // how long a transfer may stand still; default 30 s
	Accept  []string      // media types that are wanted; default any
	Log     *slog.Logger  // default: none
}

// An error of Client's transport with a method After() time.Duration says how
// long to wait before the next try, as Retry-After does.

// tries is how often in a row a server may fail without a byte.
const tries = 4

// longest is what a server may ask us to wait (Retry-After, RFC 9110 section
// 10.2.3); more is a refusal.
const longest = 60 * time.Second

func (g Getter) withDefaults() Getter {
	if g.Client == nil {
		g.Client = http.DefaultClient
	}
	if g.Backoff <= 0 {
		g.Backoff = 300 * time.Millisecond
	}
	if g.Stall <= 0 {
		g.Stall = 30 * time.Second
	}
	if g.Log == nil {
		g.Log = slog.New(slog.DiscardHandler)
	}
	return g
}

// Open gives what lies at url, from offset on. Errors that a caller may test
// for, here and of Read: *StatusError, ErrRange, and those of ctx.
func (g Getter) Open(ctx context.Context, url string, offset int64) (*Reader, error) {
	r := &Reader{g: g.withDefaults(), ctx: ctx, url: url, offset: offset}
	return r, r.again(nil)
}

// A Reader is one stream, from as many answers as it takes.
type Reader struct {
	g      Getter
	ctx    context.Context
	url    string
	offset int64 // of the next byte
	broken int   // failures since the last byte
	pieces int   // answers that were begun
	size   int64 // of the whole, as the first answer had it
	now    *answer
}

// Resumed says whether the bytes came from more than one answer.
func (r *Reader) Resumed() bool { return r.pieces > 1 }

// Size is how many bytes the server says that there are, from the beginning;
// -1 when it does not.
func (r *Reader) Size() int64 { return r.size }

func (r *Reader) Read(p []byte) (int, error) {
	for {
		n, err := r.now.Read(p)
		r.offset += int64(n)
		if n > 0 {
			r.broken = 0
		}
		if err == nil || err == io.EOF || n > 0 {
			return n, keepEOF(err)
		}
		if err := r.again(err); err != nil {
			return 0, err
		}
	}
}

// keepEOF drops an error that the next Read will meet again.
func keepEOF(err error) error {
	if err == io.EOF {
		return err
	}
	return nil
}

// Close ends the transfer.
func (r *Reader) Close() error {
	if r.now != nil {
		r.now.close()
	}
	return nil
}

// again asks for the rest after broken, which is nil at first.
func (r *Reader) again(broken error) error {
	for {
		if broken != nil {
			if err := r.pause(broken); err != nil {
				return err
			}
		}
		_ = r.Close()
		var err error
		if r.now, err = r.ask(); err == nil {
			if r.pieces++; r.pieces == 1 {
				r.size = r.now.size
			}
			return nil
		}
		broken = err
	}
}

// pause waits as long as it is wise to, or says that it is not.
func (r *Reader) pause(broken error) error {
	r.broken++
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	wait := r.g.Backoff << (r.broken - 1)
	var busy interface{ After() time.Duration }
	if errors.As(broken, &busy) {
		wait = max(wait, busy.After())
	}
	if r.broken == tries || wait > longest || isLasting(broken) {
		return broken
	}
	r.g.Log.Info("transfer broke off, going on", "url", r.url, "at", r.offset, "try", r.broken+1, "pause", wait, "error", broken)
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-time.After(wait):
		return nil
	}
}

// A busyError is a server that may answer later.
type busyError struct {
	StatusError
	after time.Duration
}

func (e *busyError) Unwrap() error        { return &e.StatusError }
func (e *busyError) After() time.Duration { return e.after }

// isLasting tells errors that will be the same in a second. A host that does
// not exist will not exist then either, and one whom nobody vouches for stays so.
func isLasting(err error) bool {
	var busy *busyError
	if errors.As(err, &busy) {
		return false
	}
	var status *StatusError
	var dns *net.DNSError
	var untrusted *tls.CertificateVerificationError
	return errors.As(err, &status) || errors.As(err, &untrusted) || errors.Is(err, ErrRange) || errors.As(err, &dns) && dns.IsNotFound
}

// ask asks for the bytes from the offset on.
func (r *Reader) ask() (*answer, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	a := &answer{ctx: ctx, cancel: cancel, stall: r.g.Stall}
	a.watch = time.AfterFunc(a.stall, func() { cancel(fmt.Errorf("nothing came for %v", a.stall)) })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		a.close()
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // else a server that calls .gz an encoding has it undone on the way
	if len(r.g.Accept) > 0 {
		req.Header["Accept"] = r.g.Accept
	}
	if r.offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
	}
	resp, err := r.g.Client.Do(req)
	if err == nil {
		a.body, a.size = resp.Body, resp.ContentLength
		if resp.StatusCode == http.StatusPartialContent && a.size >= 0 {
			a.size += r.offset
		}
		if err = check(resp, r.offset); err == nil && resp.StatusCode == http.StatusOK {
			_, err = io.CopyN(io.Discard, a, r.offset) // it knows no ranges
			if err == io.EOF {
				err = ErrRange
			}
		}
	}
	if err != nil {
		err = because(ctx, err)
		a.close()
		return nil, err
	}
	return a, nil
}

// check judges an answer by its head.
func check(resp *http.Response, offset int64) error {
	status := StatusError{resp.StatusCode, resp.Status}
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		return nil
	case code == http.StatusPartialContent && offset > 0:
		if from, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-"); from != strconv.FormatInt(offset, 10) {
			return fmt.Errorf("asked for bytes from %d on, got Content-Range %.80q", offset, resp.Header.Get("Content-Range"))
		}
		return nil
	case code == http.StatusRequestedRangeNotSatisfiable:
		return ErrRange
	case Passing(code):
		return &busyError{status, RetryAfter(resp.Header, time.Now())}
	}
	return &status
}

// Passing tells the codes of servers that may do later what they do not now.
func Passing(code int) bool {
	return code >= 500 && code != http.StatusNotImplemented && code != http.StatusInsufficientStorage ||
		code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}

// RetryAfter reads how long a server asks to wait: seconds, or a date.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	word := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(word, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(word); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// An answer is a body being read, with a watch that gives up on it.
type answer struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	body   io.ReadCloser
	size   int64 // of the whole, -1 when it is not told
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if err == nil {
		a.watch.Reset(a.stall)
	} else if err != io.EOF {
		err = because(a.ctx, err)
	}
	return n, err
}

func (a *answer) close() {
	if a.body != nil {
		_ = a.body.Close()
	}
	a.watch.Stop()
	a.cancel(nil)
}

// because names what ended ctx instead of its consequence.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return input.HungUp(err)
}
