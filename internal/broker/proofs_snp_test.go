package broker

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp/impostor"
	"holdfast/internal/proof"
)

func TestAStrangerVerifiesTheProofOfAnSNPMachine(t *testing.T) {
	maker := snpMaker(t)
	ring, prove := proving(t)
	b := newBench(t, func(c *Config) {
		prove(c)
		c.Verifiers = []attest.Verifier{snpVerifier(t, maker, nil)}
	})
	values := onSNP()
	values.UKI = "sha256:" + strings.Repeat("ab", 32)
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, values)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	m := b.machine()
	status, body := m.shakeSNP(maker, nil)
	m.take(status, body)
	m.fetch()
	raw, err := b.admin.Proof(t.Context(), b.proofs()[0].ID)
	check(t, err)
	judge := func(raw []byte, v attest.Verifier, at time.Time) *proof.Report {
		r, err := proof.Verify(t.Context(), raw, proof.Reader{Roots: ring.RootPool(), Hardware: []attest.Verifier{v}, At: at})
		check(t, err)
		return r
	}
	now := time.Now()
	if r := judge(raw, snpVerifier(t, maker, nil), now); !r.Verified {
		t.Errorf("got %+v", r.Checks)
	}
	late := now.Add(2 * time.Hour)
	for want, r := range map[string]*proof.Report{
		attest.ErrEndorsement.Error(): judge(raw, snpVerifier(t, snpMaker(t), nil), now),
		"not valid at this time":      judge(raw, snpVerifier(t, maker, func() time.Time { return late }), now),
		"cannot be judged":            judge(raw, fakeVerifier{}, now),
	} {
		if bad := r.Failures(); r.Verified || len(bad) == 0 || !strings.Contains(bad[0].Text, want) {
			t.Errorf("got %+v, want %q", bad, want)
		}
	}
	// A broker that lies about the evidence, and signs the lie.
	p, err := proof.Peek(raw)
	check(t, err)
	other := sha256.Sum256([]byte(m.initData))
	forged, err := maker.Evidence(impostor.Claim{Report: make([]byte, 48), Host: other[:], Measurement: launched})
	check(t, err)
	p.Attestation.Message.TEEEvidence.Primary = forged
	lie, err := proof.Seal(*p, ring.Releases())
	check(t, err)
	if bad := judge(lie, snpVerifier(t, maker, nil), now).Failures(); len(bad) == 0 || !strings.Contains(bad[0].Text, attest.ErrNonce.Error()) {
		t.Errorf("got %+v", bad)
	}
}
