package verify_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	recordings "github.com/google/go-tdx-guest/testing"
	guest "github.com/google/go-tdx-guest/verify"

	"holdfast/internal/attest"
	"holdfast/internal/attest/ccel"
	"holdfast/internal/attest/ccel/cceltest"
	"holdfast/internal/attest/tdx"
	"holdfast/internal/attest/tdx/verify"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, name string) *tdx.Quote {
	t.Helper()
	q, err := tdx.ParseQuote(read(t, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return q
}

// recorded is when the collateral of go-tdx-guest was good.
func recorded() time.Time { return time.Date(2023, 7, 1, 1, 0, 0, 0, time.UTC) }

func collateral(t testing.TB) verify.Collateral {
	t.Helper()
	return verify.Collateral{
		Signed:  [][]byte{read(t, "go-tdx-guest/sample_tcbInfo_response.json"), read(t, "go-tdx-guest/sample_qeIdentity_response.json")},
		Signers: read(t, "go-tdx-guest/signers.pem"),
		Revoked: [][]byte{read(t, "go-tdx-guest/rootcrl.der"), read(t, "go-tdx-guest/pckcrl.der")},
	}
}

func newVerifier(t testing.TB, c verify.Config) *verify.Verifier {
	t.Helper()
	if c.Clock == nil {
		c.Clock = recorded
	}
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A quote of a production machine (Sapphire Rapids) with Intel's collateral of
// its time, which is for newer firmware: go-tdx-guest finds "no matching TCB
// level", too.
func TestRecordedQuoteReachesNoLevelOfTheRecordedCollateral(t *testing.T) {
	v := newVerifier(t, verify.Config{Collateral: collateral(t)})
	_, err := v.Judge(parse(t, "go-tdx-guest/tdx_prod_quote_SPR_E4.dat"))
	if !errors.Is(err, attest.ErrFirmware) {
		t.Errorf("got %v, want %v", err, attest.ErrFirmware)
	}
	theirs := guest.RawTdxQuote(read(t, "go-tdx-guest/tdx_prod_quote_SPR_E4.dat"),
		&guest.Options{GetCollateral: true, CheckRevocations: true, Getter: recordings.TestGetter, Now: recorded()})
	if theirs == nil || !strings.Contains(theirs.Error(), "no matching TCB level") {
		t.Errorf("go-tdx-guest says %v", theirs)
	}
}

func TestEndedCollateralRefuses(t *testing.T) {
	q := parse(t, "go-tdx-guest/tdx_prod_quote_SPR_E4.dat")
	for name, c := range map[string]struct {
		at   time.Time
		want error
	}{
		"a month later":    {recorded().AddDate(0, 1, 0), attest.ErrCollateral},
		"a month earlier":  {recorded().AddDate(0, -1, 0), attest.ErrCollateral},
		"after the chain":  {recorded().AddDate(30, 0, 0), attest.ErrExpired},
		"before the chain": {recorded().AddDate(-30, 0, 0), attest.ErrExpired},
	} {
		v := newVerifier(t, verify.Config{Collateral: collateral(t), Clock: func() time.Time { return c.at }})
		if _, err := v.Judge(q); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// The verdicts of go-tdx-guest about signatures and certificates, which is as
// far as it judges without the network.
func TestWhatGoTDXGuestAcceptsIsAcceptedAndWhatItRefusesRefused(t *testing.T) {
	raw := read(t, "go-tdx-guest/tdx_prod_quote_SPR_E4.dat")
	v := newVerifier(t, verify.Config{})
	accepted := 0
	for at := -1; at < len(raw); at += 97 {
		bent := bytes.Clone(raw)
		if at >= 0 {
			bent[at] ^= 4
		}
		theirs := guest.RawTdxQuote(bent, &guest.Options{Now: recorded()})
		q, ours := tdx.ParseQuote(bent)
		if ours == nil {
			ours = v.Signatures(q)
		}
		if (theirs == nil) && (ours != nil) || theirs != nil && ours == nil {
			t.Errorf("byte %#x: they say %v, we say %v", at, theirs, ours)
		}
		if ours == nil {
			accepted++
		}
	}
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}

// Trustee's parse_tdx_claims_expected.json is what its own parser makes of
// this quote and this log.
func TestClaimsAreTrustees(t *testing.T) {
	claims := verify.QuoteClaims(parse(t, "trustee/tdx_quote_4.dat"))
	log, err := ccel.Parse(cceltest.Unpacked(t, "../../ccel/testdata/trustee/CCEL_data.gz"))
	if err != nil {
		t.Fatal(err)
	}
	claims["uefi_event_logs"] = log.Claims()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(cceltest.Unpacked(t, "testdata/trustee/parse_tdx_claims_expected.json.gz"), &want); err != nil {
		t.Fatal(err)
	}
	instance := want["platform_instance_id"]
	delete(want, "platform_instance_id") // from the certificate: below
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Errorf("%s is\n%v, want\n%v", name, got[name], want[name])
		}
	}
	if id := verify.InstanceOf(parse(t, "trustee/tdx_quote_4.dat").QE.Chain); id != instance {
		t.Errorf("platform_instance_id is %v, want %v", id, instance)
	}
}

func TestRecordedQuotesAreOfTheVersionsThatTrusteeFinds(t *testing.T) {
	for name, version := range map[string]uint16{"trustee/tdx_quote_4.dat": 4, "trustee/tdx_quote_5.dat": 5, "trustee/tdx_quote_6.dat": 4} {
		if q := parse(t, name); q.Version != version {
			t.Errorf("%s is of version %d, want %d", name, q.Version, version)
		}
	}
}

// No collateral is recorded for these, so what they show is that all before it
// is good: the first list that is missing is asked for only after the chain.
func TestRecordedQuotesLackOnlyCollateral(t *testing.T) {
	for _, name := range []string{"trustee/tdx_quote_4.dat", "trustee/tdx_quote_5.dat", "trustee/tdx_quote_6.dat"} {
		q := parse(t, name)
		v := newVerifier(t, verify.Config{Clock: func() time.Time { return time.Date(2025, 11, 1, 0, 0, 0, 0, time.UTC) }})
		if err := v.Signatures(q); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.Judge(q); !errors.Is(err, attest.ErrCollateral) {
			t.Errorf("%s: got %v, want %v", name, err, attest.ErrCollateral)
		}
		q.Signed[600] ^= 1
		if err := v.Signatures(q); !errors.Is(err, attest.ErrSignature) {
			t.Errorf("%s with another bit: got %v, want %v", name, err, attest.ErrSignature)
		}
	}
}

func parses(raw []byte) error {
	_, err := tdx.ParseQuote(raw)
	return err
}
