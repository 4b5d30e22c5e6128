package admit

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/keys"
	"holdfast/internal/sign"
)

const config = `{"ignition":{"version":"3.4.0"},"passwd":{"users":[{"name":"core","passwordHash":"CANARY"}]}}`

func ring(t *testing.T) *keys.Ring {
	t.Helper()
	r, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// keysOf are the ways to name who signs for a ring.
func keysOf(t *testing.T, r *keys.Ring) map[string]Key {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, r.CertificatePEM(keys.Root), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]Key{}
	for _, word := range []string{"sha256:" + sign.KeyID(r.Statements().Certificate), path} {
		k, err := ParseKey(word)
		if err != nil {
			t.Fatal(err)
		}
		all[word] = k
	}
	return all
}

func signed(t *testing.T, r *keys.Ring) []byte {
	t.Helper()
	raw, err := Sign([]byte(config), "machine.ign", r.Statements())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestASignedConfigIsItsBytes(t *testing.T) {
	r := ring(t)
	for word, k := range keysOf(t, r) {
		got, err := Gate{Key: k}.Admit(t.Context(), "aws", signed(t, r), false)
		if err != nil || string(got) != config {
			t.Errorf("%s: got %q, %v", word, got, err)
		}
		if got, err := (Gate{Key: k}).Admit(t.Context(), "http://h/a", []byte(config), true); err != nil || string(got) != config {
			t.Errorf("%s: named by its hash: got %q, %v", word, got, err)
		}
	}
	if got, err := (Gate{}).Admit(t.Context(), "aws", []byte(config), false); err != nil || string(got) != config {
		t.Errorf("without a key: got %q, %v", got, err)
	}
}

func TestAStrictGateAdmitsWhatIsNamedByItsHashAlone(t *testing.T) {
	g := Gate{Strict: true}
	if got, err := g.Admit(t.Context(), "http://h/a", []byte(config), true); err != nil || string(got) != config {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := g.Admit(t.Context(), "http://h/a", []byte(config), false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "want verification.hash") {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheKeyDidNotSignIsRefusedWithTheReason(t *testing.T) {
	ours, other := ring(t), ring(t)
	mine := signed(t, ours)
	retell := func(change func(*sign.Statement)) []byte {
		var e sign.Envelope
		var s sign.Statement
		if err := errors.Join(json.Unmarshal(mine, &e), json.Unmarshal(e.Payload, &s)); err != nil {
			t.Fatal(err)
		}
		change(&s)
		sealed, err := sign.Seal(s, ours.Statements())
		raw, err2 := json.Marshal(sealed)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var flipped sign.Envelope
	if err := json.Unmarshal(mine, &flipped); err != nil {
		t.Fatal(err)
	}
	flipped.Payload[len(flipped.Payload)/2] ^= 1
	changed, err := json.Marshal(flipped)
	if err != nil {
		t.Fatal(err)
	}
	flipped.Signatures = nil
	bare, err := json.Marshal(flipped)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		raw        []byte
		hashed     bool
	}{
		{"unsigned", "nobody signed it: want a signed config", []byte(config), false},
		{"empty", "there is none, and a key must have signed it", []byte(" \n"), false},
		{"another's", "no good signature by|no signature by a key", signed(t, other), false},
		{"another's, named by its hash", "no good signature by|no signature by a key", signed(t, other), true},
		{"changed", "no good signature by|no signature by a key", changed, false},
		{"no signature", "nobody signed it", bare, false},
		{"other statement", `the statement is a "urn:x", want ` + Type, retell(func(s *sign.Statement) { s.PredicateType = "urn:x" }), false},
		{"other config", "about another config than it holds", retell(func(s *sign.Statement) { s.Subject[0].Digest["sha256"] = strings.Repeat("0", 64) }), false},
		{"no config", "the statement holds no config", retell(func(s *sign.Statement) { s.Predicate = []byte(`{"config":7}`) }), false},
	} {
		for word, k := range keysOf(t, ours) {
			_, err := Gate{Key: k}.Admit(t.Context(), "aws", c.raw, c.hashed)
			one, two, _ := strings.Cut(c.want, "|")
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), one) && (two == "" || !strings.Contains(err.Error(), two)) {
				t.Errorf("%s by %s: got %v, want %s", c.name, word, err, c.want)
			} else if strings.Contains(err.Error(), "CANARY") || !strings.HasPrefix(err.Error(), "the config is refused: aws: ") {
				t.Errorf("%s: got %v", c.name, err)
			}
		}
	}
	if _, err := (Gate{}).Admit(t.Context(), "aws", mine, false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no key is named") {
		t.Errorf("signed without a key: got %v", err)
	}
	for word, k := range keysOf(t, ours) {
		late := Gate{Key: k, Now: func() time.Time { return time.Now().Add(30 * 365 * 24 * time.Hour) }}
		if _, err := late.Admit(t.Context(), "aws", mine, false); (err == nil) != strings.HasPrefix(word, "sha256:") {
			t.Errorf("by %s, 30 years later: got %v", word, err)
		}
	}
}

func TestAKeyThatIsNoneIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("CANARY"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"sha256:12", "sha256:" + strings.Repeat("G", 64), path, path + "absent", ""} {
		if k, err := ParseKey(word); err == nil || !k.IsZero() || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v", word, err)
		}
	}
}

// What is admitted was signed; nothing else is known of it.
//
//fuzz:parser admit.go
func FuzzAdmit(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"","cert":""}]}`))
	k, err := ParseKey("sha256:" + strings.Repeat("0", 64))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := (Gate{Key: k}).Admit(t.Context(), "fuzz", raw, false); err == nil {
			t.Errorf("admitted %q", got)
		}
		_, _ = ParseRoots(raw)
	})
}
