package broker

import (
	"crypto"
	"crypto/sha256"
	"sync"
)

// seenTokens are tokens of this broker's own whose signature was good: a
// machine shows the same for each resource. What a token says follows from its
// bytes, whose digest is the key. Whether the key that signed it still counts,
// and whether it is still time, is asked each time. Nobody alters what is here.
type seenTokens struct {
	recent[[sha256.Size]byte, *seenToken]
}

// recent are things of a kind, as many as fit since it was last empty. What it
// leads to is never changed.
type recent[K comparable, V any] struct {
	mu   sync.Mutex
	all  map[K]V // guarded by mu, as the next
	size int
}

type seenToken struct {
	verified
	said tokenClaims
	kid  string
	by   crypto.PublicKey
}

// maxSeen bounds the memory of each kind; claims take a few times as much as the
// token's text.
const (
	maxSeen   = 16 << 20
	seenTimes = 4
)

func (s *seenTokens) put(id [sha256.Size]byte, t *seenToken) {
	s.recent.put(id, t, seenTimes*len(t.token))
}

func (r *recent[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.all[key]
	return v, ok
}

// put keeps one of so many bytes. Where there are too many, all begins anew.
func (r *recent[K, V]) put(key K, v V, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || r.size+size > maxSeen {
		r.all, r.size = map[K]V{}, 0
	}
	r.all[key] = v
	r.size += size
}

// again judges a token that was seen before, but for its signature; nil when it
// has to be looked at anew.
func (m *tokenMaker) again(id [sha256.Size]byte) (*verified, error) {
	s, ok := m.seen.get(id)
	if !ok {
		return nil, nil
	}
	keys, err := m.own()
	if err != nil {
		return nil, err
	}
	key, ok := keys[s.kid].(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !key.Equal(s.by) {
		return nil, nil
	}
	now := m.now()
	if err := (&unverified{claims: s.said}).timely(now, false); err != nil {
		return nil, err
	}
	v := s.verified
	return &v, m.clock.check(v.session, now)
}

// remember keeps what was found good by one of the broker's own keys.
func (m *tokenMaker) remember(id [sha256.Size]byte, t *unverified, v *verified) {
	keys, err := m.own()
	if by := keys[t.header.KeyID]; err == nil && by != nil {
		m.seen.put(id, &seenToken{*v, t.claims, t.header.KeyID, by})
	}
}
