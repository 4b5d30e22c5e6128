package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

type clockwork struct{ now time.Time }

func newPasswordsAt(c *clockwork) *passwords {
	return newPasswords(func() time.Time { return c.now }, slog.New(slog.DiscardHandler))
}

func TestASourceThatGuessesHasToWait(t *testing.T) {
	c := &clockwork{time.Now()}
	p, r := newPasswordsAt(c), mustParse(t, rulesText)
	guesses := 0
	var busy *BusyError
	for ; guesses < 1000; guesses++ {
		if errors.As(p.check(t.Context(), r, "192.0.2.1", fmt.Sprint("user", guesses), "x"), &busy) {
			break
		}
	}
	if guesses != 20 {
		t.Errorf("%d guesses were free", guesses)
	}
	if err := p.check(t.Context(), r, "192.0.2.1", "alice", "ecila"); !errors.As(err, &busy) {
		t.Errorf("got %v, want even the right password to wait", err)
	}
	if err := p.check(t.Context(), r, "192.0.2.2", "alice", "ecila"); err != nil {
		t.Errorf("another source: %v", err)
	}
	c.now = c.now.Add(time.Duration(busy.Seconds()) * time.Second)
	if err := p.check(t.Context(), r, "192.0.2.1", "alice", "ecila"); err != nil {
		t.Errorf("after %d s: %v", busy.Seconds(), err)
	}
}

func TestOneNameIsNotGuessedAtFromManySources(t *testing.T) {
	c := &clockwork{time.Now()}
	p, r := newPasswordsAt(c), mustParse(t, rulesText)
	if err := p.check(t.Context(), r, "198.51.100.1", "alice", "ecila"); err != nil {
		t.Fatal(err)
	}
	guesses := 0
	var busy *BusyError
	for ; guesses < 1000; guesses++ {
		if errors.As(p.check(t.Context(), r, fmt.Sprint("source", guesses), "alice", "x"), &busy) {
			break
		}
	}
	if guesses > 101 {
		t.Errorf("%d guesses were free", guesses)
	}
	if err := p.check(t.Context(), r, "198.51.100.1", "alice", "ecila"); err != nil {
		t.Errorf("who was right before: %v", err)
	}
	if err := p.check(t.Context(), r, "198.51.100.1", "bob", "builder"); !errors.Is(err, errPassword) {
		t.Errorf("another name: %v", err)
	}
}

func TestManyRightPasswordsAtOnceAreNoGuesses(t *testing.T) {
	p, r := newPasswordsAt(&clockwork{time.Now()}), mustParse(t, rulesText)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if err := p.check(t.Context(), r, "192.0.2.1", "alice", "ecila"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestMemoryIsBoundedWhoeverComes(t *testing.T) {
	p := newPasswordsAt(&clockwork{time.Now()})
	for i := range 3 * maxRecent {
		p.remember(p.ticket(fmt.Sprint(i)), p.now())
	}
	if len(p.recent) > maxRecent {
		t.Errorf("%d logins are remembered", len(p.recent))
	}
}

// What a refusal costs is counted in the calls of bcrypt: the same for every
// user, and for none.
func TestARefusalCostsTheSameWhoeverIsAskedFor(t *testing.T) {
	r := mustParse(t, rulesText)
	for _, name := range []string{"alice", "bob", "carol", ""} {
		if work := r.work(name); work != 1<<r.dearest() {
			t.Errorf("%q costs %d, want %d", name, work, 1<<r.dearest())
		}
	}
}

// work is what judge does for a name, in rounds of bcrypt.
func (r *Rules) work(name string) int {
	rounds, d := 0, decoys{}
	for _, hash := range r.toTry(&d, name) {
		cost, _ := bcrypt.Cost([]byte(hash))
		rounds += 1 << cost
	}
	return rounds
}

func TestAnswersToGuessesAreTheSameForUsersAndOthers(t *testing.T) {
	s := newStage(t, rulesText)
	refusal := func(user string) string {
		q := s.request("GET", "/token?scope=repository:secret/app:pull")
		q.SetBasicAuth(user, "wrong")
		status, header, body := s.do(q)
		header.Del("Date")
		return fmt.Sprint(status, header, body)
	}
	if a, b := refusal("alice"), refusal("carol"); a != b || !strings.HasPrefix(a, "401") {
		t.Errorf("got %s\nand %s", a, b)
	}
}

func TestGuessingIsAnsweredByRetryAfter(t *testing.T) {
	s := newStage(t, rulesText)
	for range 100 {
		q := s.request("GET", "/token")
		q.SetBasicAuth("alice", "wrong")
		status, header, body := s.do(q)
		if status == http.StatusTooManyRequests {
			if header.Get("Retry-After") == "" || !strings.Contains(body, "TOOMANYREQUESTS") {
				t.Errorf("got %v %s", header, body)
			}
			return
		}
	}
	t.Error("100 guesses were free")
}

func TestSourcesAreAddressesOrNetworks(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64", "[::ffff:192.0.2.1]:80": "192.0.2.1",
		"[fe80::1%eth0]:80": "fe80::/64", "@": "@",
	} {
		if got := (&Rules{}).source(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%s: got %s, want %s", remote, got, want)
		}
	}
}

func TestOnlyOurProxiesSayForWhomTheyAsk(t *testing.T) {
	r := mustParse(t, "proxies: [127.0.0.1, 10.0.0.0/8, '::1']\n")
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:80", "198.51.100.1", "192.0.2.1"},
		{"127.0.0.1:80", "198.51.100.1", "198.51.100.1"},
		{"127.0.0.1:80", "203.0.113.5, 198.51.100.1, 10.1.2.3", "198.51.100.1"},
		{"[::1]:80", "2001:db8::1", "2001:db8::/64"},
		{"127.0.0.1:80", "", "127.0.0.1"},
		{"127.0.0.1:80", "198.51.100.1, nonsense", "127.0.0.1"},
	} {
		q := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": {c.forwarded}, "X-Forwarded-Proto": {"https"}}}
		if got := r.source(q); got != c.want {
			t.Errorf("%s for %q: got %s, want %s", c.remote, c.forwarded, got, c.want)
		}
		if secure := r.isSecure(q); secure == (c.remote == "192.0.2.1:80") {
			t.Errorf("%s says that the client speaks TLS: believed %v", c.remote, secure)
		}
	}
}

// A client that goes away while it waits for its turn costs nothing.
func TestWaitingForATurnEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newPasswordsAt(&clockwork{time.Now()}), mustParse(t, rulesText)
		for range cap(p.turns) {
			p.turns <- struct{}{}
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- p.check(ctx, r, "192.0.2.1", "alice", "ecila") }()
		synctest.Wait()
		cancel()
		if err := <-done; err == nil {
			t.Error("judged without a turn")
		}
	})
}
