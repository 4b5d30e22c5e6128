package broker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// cookieName is Trustee's (kbs/src/attestation/session.rs).
const cookieName = "kbs-session-id"

// A session is one handshake: a nonce that may be answered once, and the
// token that a good answer earned.
type session struct {
	id      string
	tee     string
	nonce   string
	offered string // digest of the offered endorsement certificate
	offer   *api.ActivationOffer
	proof   attest.Session // waits for the evidence; gone once it was used
	expires time.Time
	used    bool   // the nonce was answered, well or badly
	again   bool   // and then once more
	token   string // set once attested
}

// reference names a session in the log. The id itself is as good as a
// password while the session lives, so its hash stands for it.
func (s *session) reference() string { return sessionReference(s.id) }

func sessionReference(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

func (s *session) cookie(secure bool) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: s.id, Expires: s.expires, Path: api.KBSPrefix, HttpOnly: true, Secure: secure}
}

// sessions is bounded in number and in time.
type sessions struct {
	max  int
	life time.Duration
	now  func() time.Time

	mu  sync.Mutex
	all map[string]*session // guarded by mu, with the sessions in it
}

func (t *sessions) add(s *session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) >= t.max && !t.makeRoom() {
		return refuse(http.StatusServiceUnavailable, kindAttestation, "the broker has its limit of %d attested sessions: try again later", t.max)
	}
	s.id = randomHex(16)
	s.expires = t.now().Add(t.life)
	t.all[s.id] = s
	return nil
}

// makeRoom drops what has expired, or else the oldest handshake that was not
// completed: whoever floods the broker displaces mostly himself.
func (t *sessions) makeRoom() bool {
	now := t.now()
	var oldest *session
	for id, s := range t.all {
		if now.After(s.expires) {
			delete(t.all, id)
		} else if s.token == "" && (oldest == nil || s.expires.Before(oldest.expires)) {
			oldest = s
		}
	}
	if len(t.all) >= t.max && oldest != nil {
		delete(t.all, oldest.id)
	}
	return len(t.all) < t.max
}

// get returns a copy of a live session.
func (t *sessions) get(id string) (session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.live(id)
	if !ok {
		return session{}, false
	}
	return *s, true
}

func (t *sessions) live(id string) (*session, bool) {
	s, ok := t.all[id]
	if ok && t.now().After(s.expires) {
		delete(t.all, id)
		return nil, false
	}
	return s, ok
}

// use takes the session's nonce, which nobody can do twice. Trying makes an
// error that comes with the session, for the record, the first time only: else
// one session could fill the audit log.
func (t *sessions) use(id string) (session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.live(id)
	if !ok {
		return session{}, attestRefusal("the session is unknown or has expired")
	}
	if s.used {
		err := attestRefusal("the session's nonce was answered before: it is good for one attestation")
		if s.again {
			return session{}, err
		}
		s.again = true
		return *s, err
	}
	s.used = true
	out := *s
	s.proof = nil
	return out, nil
}

func (t *sessions) attested(id, token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.all[id]; ok {
		s.token = token
	}
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

func randomBytes(n int) []byte {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never returns an error since Go 1.24
	return raw
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }
