package broker

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/sign"
)

// proving makes a broker leave proofs, with the keys of a ring of its own.
func proving(t testing.TB) (*keys.Ring, func(*Config)) {
	t.Helper()
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	check(t, err)
	return ring, func(c *Config) {
		c.TokenKey = ring.Pair(keys.Token).Key.(*ecdsa.PrivateKey)
		c.Proofs = &Proofs{Signer: ring.Releases(), TokenCertificate: ring.Pair(keys.Token).Certificate}
		c.VerifyReference = func(raw []byte) (*api.ReferenceValues, error) {
			return proof.OpenReference(raw, ring.RootPool(), time.Now())
		}
	}
}

func signedReference(t testing.TB, ring *keys.Ring, values api.ReferenceValues) []byte {
	t.Helper()
	statement, err := sign.NewStatement(api.ReferenceType, values)
	check(t, err)
	env, err := sign.Seal(statement, ring.Statements())
	check(t, err)
	raw, err := json.Marshal(env)
	check(t, err)
	return raw
}

// released furnishes b, and has a machine attest and fetch its key.
func released(t *testing.T, b *bench, ring *keys.Ring) *machine {
	t.Helper()
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, guestValues)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	m := b.machine()
	m.auth()
	m.attest()
	m.fetch()
	return m
}

func (m *machine) fetch() {
	m.b.t.Helper()
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK || m.open(body) != "the key" {
		m.b.t.Fatalf("got %d %s", status, body)
	}
}

func (b *bench) proofs() []api.ProofEntry {
	b.t.Helper()
	list, err := b.admin.Proofs(b.t.Context())
	check(b.t, err)
	return list
}

func TestEachReleaseLeavesAProofWithoutTheSecret(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	m := released(t, b, ring)
	m.fetch()
	list := b.proofs()
	if len(list) != 2 || list[0].ID == list[1].ID {
		t.Fatalf("got %+v, want a proof for each of two releases", list)
	}
	raw, err := b.admin.Proof(t.Context(), list[0].ID)
	check(t, err)
	p, err := proof.Peek(raw)
	check(t, err)
	plain, err := json.Marshal(p)
	check(t, err)
	if bytes.Contains(plain, []byte("the key")) || !strings.HasPrefix(p.Release.Value, "hmac-sha256:") {
		t.Errorf("got value %q, want a keyed digest, and the secret nowhere", p.Release.Value)
	}
	if e := b.lastEntry(); e.Proof != list[1].ID || e.Value != p.Release.Value {
		t.Errorf("got audit entry %+v, want it to name the proof", e)
	}
}

func TestAProofTellsNothingOfOthers(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	other := digestOf([]byte("another tenant"))
	check(t, b.admin.Allow(t.Context(), other, []string{"tenant/key/b"}))
	image := guestValues
	image.Image, image.PCRs = "unrelated", map[string]string{"11": pcr("c")}
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, image)))
	released(t, b, ring)
	raw, err := b.admin.Proof(t.Context(), b.proofs()[0].ID)
	check(t, err)
	p, err := proof.Peek(raw)
	check(t, err)
	plain, err := json.Marshal(p)
	check(t, err)
	for _, word := range []string{other, "tenant/key/b", "unrelated"} {
		if bytes.Contains(plain, []byte(word)) {
			t.Errorf("the proof tells of %q", word)
		}
	}
	if len(p.Attestation.References) != 1 {
		t.Errorf("got %d images, want the machine's own", len(p.Attestation.References))
	}
}

func TestWhatAPolicyLooksAtIsInTheProof(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	check(t, b.admin.SetAttestationPolicy(t.Context(), []byte("package policy\n\nallow if count(data.configurations) == 2\n\ntrust_claims := {\"hardware\": 2}\n")))
	check(t, b.admin.Allow(t.Context(), digestOf([]byte("another tenant")), []string{"tenant/key/b"}))
	released(t, b, ring)
	raw, err := b.admin.Proof(t.Context(), b.proofs()[0].ID)
	check(t, err)
	p, err := proof.Peek(raw)
	check(t, err)
	var data struct{ Configurations map[string]any }
	check(t, json.Unmarshal(p.Attestation.Policy.Data, &data))
	if len(data.Configurations) != 2 {
		t.Errorf("got %d configurations, want the two that the policy counts", len(data.Configurations))
	}
}

func TestNoProofNoRelease(t *testing.T) {
	ring, prove := proving(t)
	broken := &brokenState{}
	b := newBench(t, func(c *Config) {
		prove(c)
		broken.State = openTestState(t, c.Dir, c.Now)
		c.State = broken
	})
	m := released(t, b, ring)
	broken.keepProof = errors.New("the disk is on fire")
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	if status != http.StatusInternalServerError || bytes.Contains(body, []byte("ciphertext")) {
		t.Fatalf("got %d %s, want nothing released", status, body)
	}
	e := b.lastEntry()
	if e.Decision != api.AuditRefuse || !strings.Contains(strings.Join(e.Reasons, " "), "write the proof") {
		t.Errorf("got audit entry %+v, want a refusal that says why", e)
	}
}

func TestAProofOfAReleaseThatDidNotHappenIsTakenBack(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	m := released(t, b, ring)
	log := filepath.Join(b.cfg.Dir, AuditFile)
	kept, err := os.ReadFile(log)
	check(t, err)
	check(t, os.Remove(log))
	check(t, os.Mkdir(log, 0o700)) // no record can be written
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusInternalServerError {
		t.Fatalf("got %d %s", status, body)
	}
	check(t, os.Remove(log))
	check(t, os.WriteFile(log, kept, 0o600))
	ids, err := b.state.Proofs(t.Context())
	check(t, err)
	if len(ids) != 1 {
		t.Errorf("got %d proofs, want that of the release that happened", len(ids))
	}
}

func TestABrokerStartedSinceProvesTheRelease(t *testing.T) {
	ring, prove := proving(t)
	first := newBench(t, prove)
	m := released(t, first, ring)
	second := newBench(t, func(c *Config) {
		prove(c)
		c.Dir = first.cfg.Dir
	})
	later := *m
	later.b, later.cookie = second, nil // the session is gone, the token is good
	later.fetch()
	if list := first.proofs(); len(list) != 2 || list[0].Session != list[1].Session {
		t.Errorf("got %+v, want two proofs of one session", list)
	}
	second.now.set(second.now.Now().Add(time.Hour)) // and another session's record makes it be forgotten
	check(t, second.state.KeepAttested(t.Context(), "another", []byte("{}"), second.now.Now(), 10, nil))
	second.wantDecided()
	second.now.set(second.now.Now().Add(-time.Hour))
	status, body := later.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindNoToken, "attest again")
}

// wantDecided waits until what handshakes left is on disk.
func (b *bench) wantDecided() {
	b.t.Helper()
	if all, err := b.state.Decisions(b.t.Context(), 0, 1); err != nil || len(all) == 0 {
		b.t.Fatalf("got %v, %v", all, err)
	}
}

func TestTheLatestProofsAreKept(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, func(c *Config) {
		prove(c)
		c.Proofs.Keep = 3
	})
	m := released(t, b, ring)
	first := b.proofs()[0].ID
	for range 4 {
		b.now.set(b.now.Now().Add(time.Second))
		m.fetch()
	}
	list := b.proofs()
	gone := !slices.ContainsFunc(list, func(e api.ProofEntry) bool { return e.ID == first })
	if len(list) != 3 || !gone {
		t.Errorf("got %d proofs, first gone %v; want the latest 3", len(list), gone)
	}
	if _, err := b.admin.Proof(t.Context(), first); err == nil || !strings.Contains(err.Error(), "proof not found") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"..", "..%2Faudit", "x"} {
		if _, err := b.admin.Proof(t.Context(), name); err == nil {
			t.Errorf("a proof called %q was found", name)
		}
	}
}

func TestProofsAreForAdministrators(t *testing.T) {
	b := newBench(t, nil)
	m := b.machine()
	for _, path := range []string{api.ProofsPath, api.ProofsPath + "/20261121T032413.721447983Z-fc366f75dbbc1198-f49b617773789a47"} {
		status, body := m.call("GET", path, nil)
		wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, "no bearer token")
	}
}

func TestWhatSessionsProvedIsBounded(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, func(c *Config) {
		prove(c)
		c.MaxSessions, c.Limits.SessionsPerDevice = 3, 2
	})
	released(t, b, ring)
	for range 5 {
		m := b.machine()
		m.auth()
		m.attest()
	}
	var kept []string
	for _, e := range b.auditLog() {
		if _, err := b.state.Attested(t.Context(), e.Session); e.Action == "attest" && err == nil {
			kept = append(kept, e.Session)
		}
	}
	if len(kept) != 3 {
		t.Errorf("got %d records, want 3", len(kept))
	}
	b.now.set(b.now.Now().Add(time.Hour))
	m := b.machine()
	m.auth()
	m.attest()
	b.wantDecided()
	for _, session := range kept {
		if _, err := b.state.Attested(t.Context(), session); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v of a session whose token is good no more", err)
		}
	}
}
