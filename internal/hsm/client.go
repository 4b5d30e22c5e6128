// Package hsm uses keys that an HSM holds and never gives out.
//
// A vendor's PKCS#11 library is C code of unknown quality that wants to live in
// the process that uses it. Here it lives in a program of its own,
// holdfast-pkcs11, which this package starts and talks to through a pipe: what
// crashes or hangs there is an error here, and memory is never shared.
package hsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Errors that a caller may branch on.
var (
	ErrAbsent      = errors.New("the HSM has no such key")
	ErrExist       = errors.New("the HSM has a key of that name already")
	ErrRefused     = errors.New("the HSM refused")
	ErrUnsupported = errors.New("the HSM cannot do that")
	// ErrPIN is final: asking again would lock the token.
	ErrPIN = errors.New("the HSM's PIN is not accepted")
	// ErrDown says that the helper is not there, for now.
	ErrDown = errors.New("the HSM cannot be reached")
)

var codes = map[Code]error{CodeAbsent: ErrAbsent, CodeExists: ErrExist, CodeRefused: ErrRefused, CodeUnsupported: ErrUnsupported, CodePIN: ErrPIN}

// Config says which HSM it is. Program, Module, Token and PINFile must be set.
type Config struct {
	Program string // holdfast-pkcs11
	Module  string // the vendor's library
	Token   string // label of the token
	PINFile string // holds the user's PIN; only the helper reads it

	Env      []string      // of the helper; this process's own when nil
	Deadline time.Duration // of one operation; 10 seconds when 0
	Log      *slog.Logger  // discards when nil
}

// A Client starts the helper when it is first needed, and again when it ended.
// Its methods may be called from several goroutines.
type Client struct {
	config Config
	mu     sync.Mutex // guards all below
	helper *helper
	closed bool
	final  error         // why there will be no other helper
	pause  time.Duration // after the next failure
	until  time.Time     // no earlier than this is another started
	last   error         // why the last one ended
}

// The helper is started again at once, then less and less often.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
)

// New returns a Client. It starts nothing.
func New(c Config) (*Client, error) {
	for name, value := range map[string]string{"program": c.Program, "module": c.Module, "token": c.Token, "PIN file": c.PINFile} {
		if value == "" {
			return nil, fmt.Errorf("HSM: no %s is set", name)
		}
	}
	if c.Deadline == 0 {
		c.Deadline = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{config: c}, nil
}

// Close ends the helper and waits for it.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.helper == nil {
		return nil
	}
	c.helper.end()
	c.helper = nil
	return nil
}

// do asks one thing. Whatever hangs beyond the deadline is ended, for the next
// one to find a new helper.
func (c *Client) do(ctx context.Context, r Request) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Deadline)
	defer cancel()
	h, err := c.running(ctx)
	if err != nil {
		return Response{}, err
	}
	answer, err := h.ask(ctx, r)
	if errors.Is(err, context.DeadlineExceeded) {
		h.fail(fmt.Errorf("no answer to %q within %v", r.Op, c.config.Deadline))
		err = fmt.Errorf("%w: %w", ErrDown, h.failure())
	}
	if err != nil {
		return Response{}, fmt.Errorf("HSM token %s: %w", c.config.Token, err)
	}
	if answer.Error != "" {
		return Response{}, fmt.Errorf("HSM token %s: %w", c.config.Token, coded(answer.Code, answer.Error))
	}
	return answer, nil
}

// coded is an error of the helper that errors.Is knows.
func coded(code Code, text string) error {
	known, ok := codes[code]
	if !ok {
		return errors.New(printable(text))
	}
	return fmt.Errorf("%w: %s", known, printable(text))
}

// printable keeps a library's words to one short line.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	return strings.TrimSpace(text[:min(len(text), 300)])
}

// running is the helper, started when there is none.
func (c *Client) running(ctx context.Context) (*helper, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errors.New("HSM: the client is closed")
	case c.final != nil:
		return nil, c.final
	case c.helper != nil && c.helper.failure() == nil:
		return c.helper, nil
	}
	if c.helper != nil {
		c.helper.end()
		c.ended(c.helper.failure()) // the pause begins now that it is gone
		c.helper = nil
	}
	if wait := time.Until(c.until); wait > 0 {
		return nil, fmt.Errorf("%w: %w; the next attempt is in %v", ErrDown, c.last, wait.Round(time.Millisecond))
	}
	h, err := start(ctx, c.config)
	if errors.Is(err, ErrPIN) {
		c.final = fmt.Errorf("HSM token %s: %w: it will not be tried again before a restart", c.config.Token, err)
		return nil, c.final
	}
	if err != nil {
		c.ended(err)
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	c.helper = h
	return h, nil
}

// ended decides when another helper may be started. The caller holds mu.
func (c *Client) ended(err error) {
	if c.last != nil && time.Since(c.until) > maxPause { // it had worked for long
		c.pause = 0
	}
	c.last, c.until = err, time.Now().Add(c.pause)
	c.pause = min(max(2*c.pause, firstPause), maxPause)
	c.config.Log.Warn("HSM: the helper ended", "token", c.config.Token, "error", err)
}
