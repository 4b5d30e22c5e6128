package verify

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

//fuzz:parser session.go:Verify,Parse,bind quote.go:VerifyQuote,verifySignature,readPCRs
func FuzzEvidence(f *testing.F) {
	recorded, err := os.ReadFile("testdata/trustee/tpm_evidence.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(recorded)
	e, err := Parse(recorded)
	if err != nil {
		f.Fatal(err)
	}
	key, err := ParseKey(e.AKPublic)
	if err != nil {
		f.Fatal(err)
	}
	s := &session{offer: offer{akPublic: key}}
	bound := attest.Binding{RuntimeDigest: make([]byte, 48)}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := s.Verify(data, bound); err == nil {
			t.Error("evidence without an activation was accepted")
		}
	})
}

//fuzz:parser quote.go:VerifyQuote,verifySignature key.go:attestationKey,fit,rsassaSHA256,parse
func FuzzStructures(f *testing.F) {
	recorded, err := os.ReadFile("testdata/trustee/tpm_evidence.json")
	if err != nil {
		f.Fatal(err)
	}
	e, err := Parse(recorded)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{e.Quote.Message, e.Quote.Signature} {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(tpm2.Marshal(tpm.AKTemplate()))
	f.Add(tpm2.Marshal(tpm2.RSAEKTemplate))
	f.Add(tpm2.Marshal(tpm2.ECCSRKTemplate))
	key := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: defaultExponent}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := base64.StdEncoding.EncodeToString(data)
		_, _ = VerifyQuote(api.TPMQuote{Message: text, Signature: e.Quote.Signature}, key)
		_, _ = VerifyQuote(api.TPMQuote{Message: e.Quote.Message, Signature: text}, key)
		_, _ = parse[tpm2.TPMSAttest](data)
		_, _, _ = attestationKey(data)
	})
}

// FuzzEventLog gives logs the PCRs that they replay to, because a machine may
// extend what it likes.
//
//fuzz:parser eventlog.go
func FuzzEventLog(f *testing.F) {
	names, err := filepath.Glob("testdata/boot/*.log")
	if err != nil || len(names) == 0 {
		f.Fatalf("no recorded logs: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := explain(data, quoteOf(data), attest.Claims{})
		if err != nil && !errors.Is(err, attest.ErrEventLog) {
			t.Errorf("got %v, want %v", err, attest.ErrEventLog)
		}
	})
}

// quoteOf has the PCRs that log replays to.
func quoteOf(log []byte) *Quote {
	q := &Quote{}
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	if err != nil {
		return q
	}
	for _, e := range parsed.Events(register.HashSHA256) {
		if e.Index < 0 || e.Index >= len(q.PCRs) || e.Type == tcg.NoAction {
			continue
		}
		q.PCRs[e.Index] = sha256.Sum256(append(q.PCRs[e.Index][:], e.Digest...))
	}
	return q
}
