package broker

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// challenges are handshakes that were begun. The broker remembers none of
// them: all that it has to know stands, sealed, in the machine's cookie, so
// that a flood of beginnings takes no memory and pushes out nobody. What it
// does remember is which were answered, until they would have ended.
type challenges struct {
	key   [32]byte // of this process: whoever began with another begins again
	start time.Time
	life  time.Duration
	now   func() time.Time

	answered answered
}

func newChallenges(life time.Duration, now func() time.Time) *challenges {
	c := &challenges{key: [32]byte(randomBytes(32)), start: now(), life: life, now: now}
	c.answered = answered{life: life, max: maxAnswered, turned: c.start}
	return c
}

// maxCookie bounds the value: many a server refuses larger headers. That of a
// TPM whose certificate has 1600 bytes takes 3150.
const maxCookie = 7 << 10

// aead seals one session's cookie. Each has a key of its own, so that there is
// no bound on how many there may be.
func (c *challenges) aead(id sessionID) cipher.AEAD {
	mac := hmac.New(sha256.New, c.key[:])
	mac.Write(id[:])
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

var oneTime = make([]byte, 12) // the key seals one thing

// begin makes s a cookie.
func (c *challenges) begin(s *session, d *desk) (*http.Cookie, error) {
	now := c.now()
	s.id, s.expires = newSessionID(), now.Add(c.life)
	var err error
	if d.record, err = c.write(d.record, s); err != nil {
		return nil, err
	}
	d.payload = c.aead(s.id).Seal(append(d.payload, s.id[:]...), oneTime, d.record, nil)
	d.token = base64.RawURLEncoding.AppendEncode(d.token, d.payload)
	value := string(d.token)
	if len(value) > maxCookie {
		return nil, authRefusal("the request's parameters take a cookie of %d bytes, at most %d are given out", len(value), maxCookie)
	}
	return cookie(value, s.expires, false), nil
}

// The times in a cookie count from the broker's start, by the clock that
// nobody sets: a jump of the other neither ends sessions nor wakes ended ones.
func (c *challenges) write(room []byte, s *session) ([]byte, error) {
	params := s.params
	params.Activation = nil
	rest, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	nonce, err := base64.StdEncoding.DecodeString(s.nonce)
	if err != nil {
		return nil, err
	}
	plain := binary.BigEndian.AppendUint64(room, uint64(s.expires.Sub(c.start)))
	fields := [][]byte{[]byte(s.tee), nonce, kept(s.proof), rest}
	if s.offer != nil {
		fields = append(fields, s.offer.EKCertificate, s.offer.EKPublic, s.offer.AKPublic)
	}
	return appendParts(plain, fields...), nil
}

func kept(s attest.Session) []byte {
	if k, ok := s.(attest.Keeper); ok {
		return k.Keep()
	}
	return nil
}

var errUnknownSession = errors.New("the session is unknown or has expired")

// open reads a cookie that begin made, and what the verifier kept.
func (c *challenges) open(value string) (*session, []byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(value)
	s := &session{}
	if err != nil || len(value) > maxCookie || len(raw) < len(s.id) {
		return nil, nil, errUnknownSession
	}
	s.id = sessionID(raw[:len(s.id)])
	sealed := raw[len(s.id):]
	plain, err := c.aead(s.id).Open(sealed[:0], oneTime, sealed, nil)
	if err != nil {
		return nil, nil, errUnknownSession
	}
	s.expires = c.start.Add(time.Duration(binary.BigEndian.Uint64(plain)))
	if !c.now().Before(s.expires) {
		return nil, nil, errUnknownSession
	}
	fields, err := readParts(plain[8:]) // sealed by us
	if err != nil {
		return nil, nil, err
	}
	s.tee, s.nonce = string(fields[0]), base64.StdEncoding.EncodeToString(fields[1])
	if len(fields) > 4 {
		s.offer = &api.ActivationOffer{EKCertificate: fields[4], EKPublic: fields[5], AKPublic: fields[6]}
	}
	err = json.Unmarshal(fields[3], &s.params)
	s.params.Activation = s.offer
	s.offered = offered(&s.params)
	return s, fields[2], err
}

// resume is the verifier's side of a session that waited in a cookie.
func resume(v attest.Verifier, s *session, kept []byte) (attest.Session, error) {
	if len(kept) == 0 {
		return v.Begin(s.params)
	}
	r, ok := v.(attest.Resumer)
	if !ok {
		return nil, errors.New("the verifier of " + s.tee + " does not know its sessions again")
	}
	return r.Resume(s.params, kept)
}

// maxAnswered bounds the nonces that are remembered: 40 MiB of them.
const maxAnswered = 1 << 19

// answered is a set that forgets what is older than life, and not before.
type answered struct {
	life time.Duration
	max  int

	mu            sync.Mutex
	turned        time.Time          // guarded by mu, as all below
	young, before map[sessionID]bool // by session; true when it was told once that it is too late
}

// use takes a nonce, which nobody can do twice. Again is false for the first
// who tries nevertheless: only that is worth a line in the audit log, else one
// session could fill it.
func (a *answered) use(id sessionID, now time.Time) (fresh, again bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn(now)
	for _, set := range []map[sessionID]bool{a.young, a.before} {
		if again, used := set[id]; used {
			set[id] = true
			return false, again, nil
		}
	}
	if len(a.young) >= a.max {
		return false, false, retryAfter(a.life-now.Sub(a.turned), refuse(http.StatusServiceUnavailable, kindAttestation, "the broker remembers as many answers as it may: try again later"))
	}
	a.young[id] = false
	return true, false, nil
}

// turn drops the older half once all in it has ended. The caller holds mu.
func (a *answered) turn(now time.Time) {
	if age := now.Sub(a.turned); a.young == nil || age >= 2*a.life {
		a.young, a.before, a.turned = map[sessionID]bool{}, nil, now
	} else if age >= a.life {
		a.young, a.before, a.turned = map[sessionID]bool{}, a.young, now
	}
}
