package kbc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/input"
)

// Bounds on what a broker may send: the largest resource is a configuration
// file, and JWE and JSON add a third.
const (
	maxBody = 4 << 20
	tries   = 3
	pause   = 250 * time.Millisecond // before the second try, doubled after
)

// A Problem is the broker's refusal.
type Problem struct {
	Status int           // HTTP
	After  time.Duration // when to ask again, if the broker said so
	api.ErrorInformation
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("the broker answered %d %s", p.Status, http.StatusText(p.Status))
	}
	return fmt.Sprintf("the broker refused (%d): %s", p.Status, p.Detail)
}

// Kind is the type of the problem without its common prefix, "PolicyDeny" for
// one.
func (p *Problem) Kind() string {
	return strings.TrimPrefix(p.Type, api.ProblemPrefix)
}

// expired says that a new handshake may help.
func (p *Problem) expired() bool {
	return p.Status == http.StatusUnauthorized && (p.Kind() == "TokenNotFound" || p.Kind() == "TokenVerifierError")
}

// retry runs step until it succeeds or fails otherwise than by a broken
// connection, or by a broker that has too much to do: that one says when to come
// again, and is believed as long as all of that is within the client's patience.
func (c *Client) retry(ctx context.Context, step func() error) error {
	wait, patience := pause, c.config.Patience
	for {
		err := step()
		if ctx.Err() != nil {
			return err
		}
		pausing := wait
		var busy *Problem
		switch {
		case errors.As(err, &busy) && busy.After > 0 && busy.After <= patience:
			pausing, patience = busy.After, patience-busy.After
			c.config.Log.Warn("broker is busy, trying again", "after", busy.After, "err", err)
		case broken(err) && wait < pause<<(tries-1):
			wait *= 2
			c.config.Log.Warn("broker cannot be reached, trying again", "err", err)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pausing):
		}
	}
}

// after reads when a broker with too much to do wants to be asked again, in
// seconds (RFC 9110, 10.2.3).
func after(r *http.Response) time.Duration {
	if r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return max(time.Duration(seconds)*time.Second, pause)
}

// broken says that the connection failed, and not for being another's.
func broken(err error) bool {
	var transport *url.Error
	var untrusted *tls.CertificateVerificationError
	return errors.As(err, &transport) && !errors.As(err, &untrusted)
}

func (c *Client) post(ctx context.Context, s *session, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL+api.KBSPrefix+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	data, err = c.do(request, s)
	if err != nil {
		return err
	}
	if err := input.JSON(data, answer); err != nil {
		return fmt.Errorf("the broker's answer: %w", err)
	}
	return nil
}

// do sends a request within session s, keeps the cookies that come back, and
// returns the body of a success.
func (c *Client) do(request *http.Request, s *session) ([]byte, error) {
	for _, cookie := range s.cookies {
		request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	response, err := c.config.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, &url.Error{Op: request.Method, URL: request.URL.String(), Err: err}
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("the broker's answer is larger than %d bytes", maxBody)
	}
	if response.StatusCode != http.StatusOK {
		p := problem(response.StatusCode, body)
		p.After = after(response)
		return nil, p
	}
	if cookies := response.Cookies(); len(cookies) > 0 {
		s.cookies = cookies
	}
	return body, nil
}

// problem reads a refusal; a body that is none leaves the status alone.
func problem(status int, body []byte) *Problem {
	p := &Problem{Status: status}
	if err := json.Unmarshal(body, &p.ErrorInformation); err != nil {
		p.ErrorInformation = api.ErrorInformation{}
	}
	return p
}
