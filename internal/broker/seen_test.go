package broker

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A token that was good is asked again whether its key counts and whether it is
// time, and only it is known: not another with the same claims.
func TestATokenSeenBeforeIsRefusedWhenItsKeyOrTimeIsOver(t *testing.T) {
	first, second := newKey(t), newKey(t)
	now := time.Now()
	keys := TokenKeys{Current: TokenKey{Signer: first}}
	m := &tokenMaker{keys: func() TokenKeys { return keys }, issuer: "holdfast", life: time.Minute, now: func() time.Time { return now }, clock: ratchet{life: time.Minute}}
	token, err := m.issue(sampleResult(t))
	check(t, err)
	want := func(token, refusal string) {
		t.Helper()
		v, err := m.verify(token)
		if refusal == "" && (err != nil || v.session != "0123" || v.token != token) {
			t.Errorf("got %+v, %v", v, err)
		}
		if refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Errorf("got %v, want it refused: %s", err, refusal)
		}
	}
	want(token, "")
	want(token, "")
	if len(m.seen.all) != 1 {
		t.Errorf("%d tokens are known", len(m.seen.all))
	}
	letter := map[bool]string{true: "B", false: "A"}[token[len(token)-4] == 'A']
	other := token[:len(token)-4] + letter + token[len(token)-3:]
	want(other, "not signed by")

	keys = TokenKeys{Current: TokenKey{Signer: second}, Retired: []RetiredKey{{&first.PublicKey, now.Add(time.Minute)}}}
	want(token, "") // the key is retired
	keys.Retired[0].Until = now
	want(token, "not signed by")
	keys.Retired = nil
	want(token, "not signed by")
	keys = TokenKeys{Current: TokenKey{Signer: first}}
	want(token, "")
	now = now.Add(-30 * time.Second)
	want(token, "")
	now = now.Add(-2 * time.Minute)
	if _, err := m.verify(token); err == nil {
		t.Error("a token of the future is good because it was seen")
	}
	now = now.Add(4 * time.Minute)
	want(token, "expired")
}

func TestATokenSeenBeforeTheClockWasSetBackIsRefused(t *testing.T) {
	now := time.Now()
	m := &tokenMaker{keys: fixed(TokenKey{Signer: newKey(t)}), issuer: "holdfast", life: time.Hour, now: func() time.Time { return now }, clock: ratchet{life: time.Hour}}
	token, err := m.issue(sampleResult(t))
	check(t, err)
	now = now.Add(10 * time.Minute)
	_, err = m.verify(token)
	check(t, err)
	now = now.Add(-9 * time.Minute)
	if _, err := m.verify(token); !errors.Is(err, errSetBack) {
		t.Errorf("got %v, want %v", err, errSetBack)
	}
}

func TestTokensSeenAreBoundedInMemory(t *testing.T) {
	m := &tokenMaker{keys: fixed(TokenKey{Signer: newKey(t)}), issuer: "holdfast", life: time.Hour, now: time.Now}
	token := strings.Repeat("x", 100<<10)
	for i := range 3 * maxSeen / seenTimes / len(token) {
		m.seen.put([32]byte{byte(i), byte(i >> 8)}, &seenToken{verified: verified{token: token}})
		if m.seen.size > maxSeen || seenTimes*len(token)*len(m.seen.all) > maxSeen {
			t.Fatalf("%d tokens of %d bytes are known", len(m.seen.all), len(token))
		}
	}
}
