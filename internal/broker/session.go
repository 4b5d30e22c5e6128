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

// A session is one handshake: a nonce that may be answered once. Until it is
// answered it lives in its machine's cookie alone (challenges).
type session struct {
	id      sessionID
	tee     string
	nonce   string // base64 of 32 bytes
	params  api.RequestParams
	proof   attest.Session // waits for the evidence
	offered string         // digest of the offered endorsement certificate, which nobody has verified
	device  device         // that the evidence came from
	offer   *api.ActivationOffer
	expires time.Time
}

type sessionID [16]byte

func newSessionID() sessionID { return sessionID(randomBytes(16)) }

// reference names a session in the log. The id itself is as good as a
// password while the session lives, so its hash stands for it.
func (s *session) reference() string { return sessionReference(s.id[:]) }

func sessionReference(id []byte) string {
	sum := sha256.Sum256(id)
	return hex.EncodeToString(sum[:8])
}

func cookie(value string, expires time.Time, secure bool) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Expires: expires, Path: api.KBSPrefix, HttpOnly: true, Secure: secure}
}

// atRest is what one attested session may take. A larger one counts as several.
const atRest = 4 << 10

// sessions are those that earned a token. They are bounded in number, in time
// and for each device: nobody who has not attested takes any of their room.
type sessions struct {
	max, perKey int
	life        time.Duration
	now         func() time.Time

	mu    sync.Mutex
	all   map[sessionID]*attestedSession // guarded by mu, as all below
	queue []sessionID                    // in the order that they end, which is that of their beginning
	keys  map[string][]sessionID
	room  int // of max, that is taken
}

type attestedSession struct {
	token   keptToken
	key     string // name of the device
	expires time.Time
}

func (s *attestedSession) weight() int { return 1 + s.token.size()/atRest }

func newSessions(max, perKey int, life time.Duration, now func() time.Time) *sessions {
	return &sessions{max: max, perKey: perKey, life: life, now: now, all: map[sessionID]*attestedSession{}, keys: map[string][]sessionID{}}
}

// add keeps the token that a device earned. Its id is a new one:
// who saw the handshake's cookie has nothing of the session.
func (t *sessions) add(d device, token keptToken) (*http.Cookie, error) {
	now, key, most := t.now(), d.name, t.perKey
	if d.shared {
		most *= perProcessor
	}
	id := newSessionID()
	s := &attestedSession{token: token, key: key, expires: now.Add(t.life)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if ids := t.keys[key]; key != "" && len(ids) >= most {
		t.drop(ids[0])
	}
	if t.room+s.weight() > t.max {
		return nil, retryAfter(t.wait(now), refuse(http.StatusServiceUnavailable, kindAttestation, "the broker has its limit of %d attested sessions: try again later", t.max))
	}
	t.all[id], t.room = s, t.room+s.weight()
	t.queue = append(t.queue, id)
	if key != "" {
		t.keys[key] = append(t.keys[key], id)
	}
	return cookie(hex.EncodeToString(id[:]), s.expires, false), nil
}

// expire forgets what has ended. The caller holds mu.
func (t *sessions) expire(now time.Time) {
	for len(t.queue) > 0 {
		s, ok := t.all[t.queue[0]]
		if ok && !now.After(s.expires) {
			return
		}
		t.drop(t.queue[0])
		t.queue = t.queue[1:]
	}
}

func (t *sessions) drop(id sessionID) {
	s, ok := t.all[id]
	if !ok {
		return
	}
	delete(t.all, id)
	t.room -= s.weight()
	if s.key == "" {
		return
	}
	if rest := t.keys[s.key][1:]; len(rest) > 0 { // the oldest of a key goes first
		t.keys[s.key] = rest
		return
	}
	delete(t.keys, s.key)
}

// wait is how long it takes until a session ends.
func (t *sessions) wait(now time.Time) time.Duration {
	for _, id := range t.queue {
		if s, ok := t.all[id]; ok {
			return s.expires.Sub(now)
		}
	}
	return t.life
}

// token is what the session earned, or "".
func (t *sessions) token(value string) string {
	var id sessionID
	if n, err := hex.Decode(id[:], []byte(value[:min(len(value), 2*len(id))])); err != nil || n != len(id) || len(value) != 2*len(id) {
		return ""
	}
	t.mu.Lock()
	s, ok := t.all[id]
	t.mu.Unlock()
	if !ok || t.now().After(s.expires) {
		return ""
	}
	return s.token.String()
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.now())
	return len(t.all)
}

// A jws is a token: what all by its key begin with, its payload in clear, and
// the signature.
type jws struct {
	header    string
	payload   []byte
	signature [64]byte
}

func (t *jws) String() string {
	return t.header + "." + base64url(t.payload) + "." + base64url(t.signature[:])
}

// A keptToken is a token as small as it gets quickly: its payload is packed.
type keptToken jws

func (t *keptToken) size() int { return len(t.payload) + len(t.signature) }

func (t *keptToken) String() string {
	return (&jws{t.header, unpack(t.payload), t.signature}).String()
}

func randomBytes(n int) []byte {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never returns an error since Go 1.24
	return raw
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }
