package proof

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/sign"
)

// recordedAt is a time at which the recorded certificates are valid.
var recordedAt = time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/boot/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func reader(t testing.TB) Reader {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(t, "root.pem")) {
		t.Fatal("root.pem holds no certificate")
	}
	return Reader{Roots: roots, EKRoots: read(t, "ek-root.pem"), At: recordedAt}
}

func check(t testing.TB, raw []byte, r Reader) *Report {
	t.Helper()
	report, err := Verify(t.Context(), raw, r)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTheProofOfARealBootVerifies(t *testing.T) {
	report := check(t, read(t, "proof.json"), reader(t))
	for _, c := range report.Checks {
		if c.Verdict != Good {
			t.Errorf("%s is %s: %s", c.Name, c.Verdict, c.Text)
		}
	}
	others := 2 // of other hardware, and of additional devices
	if !report.Verified || len(report.Checks) != len(names)-others {
		t.Errorf("got verified %v by %d checks, want all %d good", report.Verified, len(report.Checks), len(names)-others)
	}
}

// A proof is sealed in one pass, and has the bytes that encoding/json gives it in
// several: a reader takes no other spelling.
func TestAProofHasOneSpelling(t *testing.T) {
	p, err := Peek(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := liar(t)
	passport := &api.ProofPassport{Issuer: "<other>", Session: "0123456789abcdef", Token: "e30.e30.e30"}
	for what, p := range map[string]api.ReleaseProof{"attested": *p, "passport": {Release: p.Release, Passport: passport}} {
		subjects, err := subjects(&p)
		if err != nil {
			t.Fatal(err)
		}
		st, err := sign.NewStatement(api.ProofType, p, subjects...)
		if err != nil {
			t.Fatal(err)
		}
		env, err := sign.Seal(st, signer)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Seal(p, signer)
		if err != nil || !bytes.Equal(got, append(want, '\n')) {
			t.Errorf("%s: got %.300s…, %v, want %.300s…", what, got, err, want)
		}
	}
	if n := reflect.TypeFor[api.ReleaseProof]().NumField(); n != 3 {
		t.Errorf("a proof has %d members, of which 3 are sealed", n)
	}
}
