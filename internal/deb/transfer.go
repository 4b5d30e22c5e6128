package deb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"time"

	"holdfast/internal/input"
	"holdfast/internal/progress"
)

// errAbsent is a mirror's answer that it has no such file.
var errAbsent = errors.New("not on this mirror")

// A passingError is one that may be gone at the next try.
type passingError struct{ err error }

func (e *passingError) Error() string { return e.err.Error() }
func (e *passingError) Unwrap() error { return e.err }

const tries = 4

// get hands the body of url to use, and tries again after errors of the
// network, which are told from those of use. What a try has added to step is
// taken back when it fails.
func (a *Archive) get(ctx context.Context, url string, step progress.Step, use func(io.Reader) error) error {
	pause := a.cfg.Backoff
	for try := 1; ; try++ {
		err := a.getOnce(ctx, url, step, use)
		var passing *passingError
		if err == nil || try == tries || !errors.As(err, &passing) || ctx.Err() != nil {
			return err
		}
		a.cfg.Log.Info("download broke off, trying again", "url", url, "try", try, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause *= 2
		}
	}
}

func (a *Archive) getOnce(ctx context.Context, url string, step progress.Step, use func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(a.cfg.Stall, func() {
		cancel(fmt.Errorf("nothing came for %v", a.cfg.Stall))
	})
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity") // else a mirror that calls .gz an encoding has it undone on the way
	resp, err := a.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", url, passing(ctx, reason(err)))
	}
	defer resp.Body.Close()
	if err := statusError(resp); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	body := &body{ctx: ctx, r: resp.Body, step: step, alive: func() { watch.Reset(a.cfg.Stall) }}
	if err := use(body); err != nil {
		step.Add(-body.n)
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// reason leaves out what http.Client says of the request, which is told anyway.
func reason(err error) error {
	var u *neturl.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func statusError(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		return nil
	case code == http.StatusNotFound || code == http.StatusGone:
		return errAbsent
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return &passingError{errors.New(resp.Status)}
	default:
		return errors.New(resp.Status)
	}
}

// passing marks an error of the network. A host that does not exist will not
// exist in a second either.
func passing(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	err = input.HungUp(err)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return err
	}
	return &passingError{err}
}

// A body is a response being read: it moves the step and tells the watch that
// bytes still come.
type body struct {
	ctx   context.Context
	r     io.Reader
	step  progress.Step
	alive func()
	n     int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.step.Add(int64(n))
	b.alive()
	if err != nil && err != io.EOF {
		err = passing(b.ctx, err)
	}
	return n, err
}

// exactly ends with an error unless r holds size bytes.
func exactly(r io.Reader, size int64) io.Reader { return &sized{r: r, left: size, size: size} }

type sized struct {
	r          io.Reader
	left, size int64
}

func (s *sized) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.left -= int64(n)
	if s.left < 0 {
		return n, fmt.Errorf("longer than the %d bytes that its index says", s.size)
	}
	if err == io.EOF && s.left > 0 {
		return n, fmt.Errorf("%d bytes, its index says %d", s.size-s.left, s.size)
	}
	return n, err
}
