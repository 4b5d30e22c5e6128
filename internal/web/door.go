package web

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

// A Door lets in whoever comes with a link that an administrator was given: a
// browser cannot sign as administrators do. A link opens once, and soon; what
// it opens is a session of the browser's, which ends by itself. Neither link
// nor session is kept as such, only their digests. The zero Door is shut until
// Ticket is called.
type Door struct {
	Now func() time.Time // time.Now when nil

	mu       sync.Mutex
	tickets  map[[sha256.Size]byte]time.Time // when each ends; guarded by mu
	sessions map[[sha256.Size]byte]time.Time // guarded by mu
}

const (
	ticketLife  = 2 * time.Minute
	sessionLife = 30 * time.Minute
	maxOpen     = 64 // of either: the oldest ends before there are more

	sessionCookie = "holdfast_page"
	enterPath     = "/enter/"
)

// Ticket makes a link's path.
func (d *Door) Ticket() string {
	text := rand.Text()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tickets = d.keep(d.tickets, text, ticketLife)
	return enterPath + text
}

func (d *Door) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// keep adds a text to those that are good. The caller holds mu.
func (d *Door) keep(good map[[sha256.Size]byte]time.Time, text string, life time.Duration) map[[sha256.Size]byte]time.Time {
	if good == nil {
		good = map[[sha256.Size]byte]time.Time{}
	}
	now := d.now()
	for sum, end := range good {
		if !now.Before(end) {
			delete(good, sum)
		}
	}
	for len(good) >= maxOpen {
		var first [sha256.Size]byte
		for sum, end := range good {
			if at, ok := good[first]; !ok || end.Before(at) {
				first = sum
			}
		}
		delete(good, first)
	}
	good[sha256.Sum256([]byte(text))] = now.Add(life)
	return good
}

// enter takes a link and gives its browser a session.
func (d *Door) enter(w http.ResponseWriter, q *http.Request) bool {
	sum := sha256.Sum256([]byte(q.PathValue("ticket")))
	d.mu.Lock()
	defer d.mu.Unlock()
	end, ok := d.tickets[sum]
	delete(d.tickets, sum)
	if !ok || !d.now().Before(end) {
		return false
	}
	session := rand.Text()
	d.sessions = d.keep(d.sessions, session, sessionLife)
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: session, Path: "/", MaxAge: int(sessionLife.Seconds()),
		HttpOnly: true, Secure: q.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	return true
}

// open tells whether a request comes of a session.
func (d *Door) open(q *http.Request) bool {
	cookie, err := q.Cookie(sessionCookie)
	if err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	end, ok := d.sessions[sha256.Sum256([]byte(cookie.Value))]
	return ok && d.now().Before(end)
}
