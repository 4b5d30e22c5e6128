package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/resume"
)

// manners leave a server alone that is busy or does not answer, and keep
// credentials from those to whom it redirects.
type manners struct {
	http.RoundTripper
	host string // of the server
	now  func() time.Time

	mu       sync.Mutex
	until    time.Time // guarded by mu: when it may be asked again
	failures int       // guarded by mu: in a row
}

// A RestError says that an upstream is left alone for a while.
type RestError struct{ wait time.Duration }

func (e *RestError) Error() string {
	return fmt.Sprintf("it is left alone for another %v", e.wait.Round(time.Second))
}

// After is how long.
func (e *RestError) After() time.Duration { return e.wait }

// The pause after failures in a row, and the longest that a server may ask
// for.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
	maxAsked   = time.Hour
)

func (m *manners) RoundTrip(q *http.Request) (*http.Response, error) {
	if err := checkRedirect(q); err != nil {
		return nil, err
	}
	if q.URL.Host != m.host {
		return m.RoundTripper.RoundTrip(q)
	}
	if wait := m.wait(); wait > 0 {
		return nil, &RestError{wait}
	}
	answer, err := m.RoundTripper.RoundTrip(q)
	if err != nil && q.Context().Err() != nil {
		return nil, err // not its fault
	}
	m.learn(answer, err)
	return answer, err
}

func (m *manners) wait() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.until.Sub(m.now())
}

// learn notes how the server does.
func (m *manners) learn(answer *http.Response, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && !isBusy(answer.StatusCode) {
		m.failures = 0
		return
	}
	pause := min(firstPause<<min(m.failures, 10), lastPause)
	m.failures++
	if err == nil {
		if asked := resume.RetryAfter(answer.Header, m.now()); asked > 0 {
			pause = min(asked, maxAsked)
		}
	}
	if until := m.now().Add(pause); until.After(m.until) {
		m.until = until
	}
}

// isBusy tells answers that speak of the whole server, and not of what it was
// asked for.
func isBusy(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// checkRedirect refuses where a server may not send us: from https to http,
// from elsewhere into this machine, and with the body of a request, which
// holds a token, to anybody else.
func checkRedirect(q *http.Request) error {
	if q.Response == nil {
		return nil
	}
	from := q.Response.Request
	switch {
	case from.URL.Scheme == "https" && q.URL.Scheme != "https":
		return fmt.Errorf("redirected from https to %s", q.URL.Scheme)
	case q.Method == http.MethodPost && q.URL.Host != from.URL.Host:
		return errors.New("redirected to another host with a token")
	case isOurs(q.URL.Hostname()) && !isOurs(from.URL.Hostname()):
		return fmt.Errorf("redirected to %s", q.URL.Hostname())
	}
	return nil
}

// isOurs tells names of this machine, and the addresses where clouds tell
// machines their secrets.
func isOurs(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}
