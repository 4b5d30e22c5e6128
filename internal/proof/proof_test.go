package proof

import (
	"crypto/x509"
	"os"
	"testing"
	"time"
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
