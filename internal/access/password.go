package access

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// passwords judges logins. Each judgement costs the same whether the user
// exists or not, and only as many run at once as there are processors.
type passwords struct {
	now     func() time.Time
	log     *slog.Logger
	sources *brake
	names   *brake
	turns   chan struct{}
	secret  []byte // keys recent
	decoys  decoys
	mu      sync.Mutex
	recent  map[[sha256.Size]byte]time.Time // guarded by mu: logins that were right, until when they are remembered
}

const (
	remembered = 5 * time.Minute
	maxRecent  = 4096
	maxSecret  = 1024 // bytes of a password; bcrypt reads 72
)

// A BusyError says that there were too many wrong passwords.
type BusyError struct{ Wait time.Duration }

func (e *BusyError) Error() string {
	return fmt.Sprintf("too many wrong passwords; wait %d s", e.Seconds())
}

// Seconds is what Retry-After says.
func (e *BusyError) Seconds() int { return max(1, int(math.Ceil(e.Wait.Seconds()))) }

var errPassword = errors.New("user or password is wrong")

func newPasswords(now func() time.Time, log *slog.Logger) *passwords {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return &passwords{
		now: now, log: log, secret: secret, recent: map[[sha256.Size]byte]time.Time{},
		sources: newBrake(20, 3*time.Second), names: newBrake(100, 2*time.Second),
		turns: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// A login is one try.
type login struct {
	source, user, password string
	ticket                 [sha256.Size]byte // names it without its password
}

// errUnjudged says that a password has to be tried.
var errUnjudged = errors.New("not judged yet")

// check gives nil for a right password. A source that guesses waits, and so
// does everybody who guesses at one name; but who was right from a source
// lately goes on from there, whatever others do.
func (p *passwords) check(ctx context.Context, r *Rules, source, user, password string) error {
	l := login{source, user, password, p.ticket(source, user, password, r.hashes[user])}
	if err := p.known(l); !errors.Is(err, errUnjudged) {
		return err
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := p.known(l); !errors.Is(err, errUnjudged) { // meanwhile
		return err
	}
	return p.try(r, l)
}

// known is what can be said of a login without trying its password.
func (p *passwords) known(l login) error {
	now := p.now()
	if wait := p.sources.wait(l.source, now); wait > 0 {
		return &BusyError{wait}
	}
	if p.isRecent(l.ticket, now) {
		return nil
	}
	if wait := p.names.wait(l.user, now); wait > 0 {
		p.sources.guess(l.source, now)
		return &BusyError{wait}
	}
	return errUnjudged
}

// try counts a guess as wrong before it is judged, so that not many at once
// can slip through.
func (p *passwords) try(r *Rules, l login) error {
	now := p.now()
	p.sources.guess(l.source, now)
	p.names.guess(l.user, now)
	if !p.judge(r, l.user, l.password) {
		p.tell(r, l)
		return errPassword
	}
	p.sources.right(l.source, now)
	p.names.right(l.user, now)
	p.remember(l.ticket, now)
	return nil
}

// tell logs a refusal, but no name that no user has: people type passwords
// there.
func (p *passwords) tell(r *Rules, l login) {
	user := l.user
	if _, known := r.hashes[user]; !known {
		user = "(unknown)"
	}
	p.log.Warn("login refused", "user", user, "source", l.source)
}

// judge tries a password.
func (p *passwords) judge(r *Rules, user, password string) bool {
	_, known := r.hashes[user]
	guess := []byte(password[:min(len(password), maxSecret)])
	right := 0
	for i, hash := range r.toTry(&p.decoys, user) {
		if bcrypt.CompareHashAndPassword([]byte(hash), guess) == nil && i == 0 {
			right++
		}
	}
	return right == 1 && known && len(password) <= maxSecret
}

// toTry are the hashes on which a password is tried: the user's, or a decoy
// for somebody unknown, and so many decoys more that it takes as long as the
// dearest hash of all.
func (r *Rules) toTry(d *decoys, user string) []string {
	dearest := r.dearest()
	hash, known := r.hashes[user]
	if !known {
		return []string{d.get(dearest)}
	}
	list := []string{hash}
	for cost := costOf(hash); cost < dearest; cost++ { // 2^c + 2^c + 2^(c+1) + … = 2^dearest
		list = append(list, d.get(cost))
	}
	return list
}

// dearest is the highest cost of all hashes, bcrypt's default when there are
// none.
func (r *Rules) dearest() int {
	dearest := 0
	for _, hash := range r.hashes {
		dearest = max(dearest, costOf(hash))
	}
	return cmp.Or(dearest, bcrypt.DefaultCost)
}

func costOf(hash string) int {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return bcrypt.MinCost
	}
	return cost
}

// decoys are hashes that no password has, one for each cost.
type decoys struct {
	mu    sync.Mutex
	costs map[int]string // guarded by mu
}

func (d *decoys) get(cost int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.costs == nil {
		d.costs = map[int]string{}
	}
	if d.costs[cost] == "" {
		d.costs[cost] = decoy(cost)
	}
	return d.costs[cost]
}

// decoy needs no work to make: any salt and any result will do.
func decoy(cost int) string {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	raw := make([]byte, 53)
	_, _ = rand.Read(raw)
	for i := range raw {
		raw[i] = alphabet[raw[i]%64]
	}
	raw[21], raw[52] = '.', '.' // the last letters of salt and result have few bits
	return fmt.Sprintf("$2b$%02d$%s", cost, raw)
}

// ticket names a login without holding its password.
func (p *passwords) ticket(parts ...string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, p.secret)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return [sha256.Size]byte(mac.Sum(nil))
}

func (p *passwords) isRecent(ticket [sha256.Size]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !now.Before(p.recent[ticket]) {
		return false
	}
	p.recent[ticket] = now.Add(remembered)
	return true
}

func (p *passwords) remember(ticket [sha256.Size]byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.recent) >= maxRecent {
		clear(p.recent)
	}
	p.recent[ticket] = now.Add(remembered)
}
