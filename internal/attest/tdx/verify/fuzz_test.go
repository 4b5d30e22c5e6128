package verify_test

import (
	"bytes"
	"testing"

	"holdfast/internal/attest/tdx"
	"holdfast/internal/attest/tdx/verify"
)

// What is signed and the body are parts of the quote, and no quote but the
// recorded ones has a signature that leads to Intel.
//
//fuzz:parser ../quote.go chain.go platform.go claims.go
func FuzzQuote(f *testing.F) {
	recorded := [][]byte{read(f, "trustee/tdx_quote_4.dat"), read(f, "trustee/tdx_quote_5.dat")}
	for _, raw := range recorded {
		f.Add(raw)
	}
	v := newVerifier(f, verify.Config{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, err := tdx.ParseQuote(raw)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(raw, q.Signed) || !bytes.HasSuffix(q.Signed, q.Body) {
			t.Error("what is signed is not the beginning of the quote")
		}
		if len(verify.QuoteClaims(q)["report_data"].(string)) != 128 {
			t.Error("report_data is not 64 bytes")
		}
		_ = verify.InstanceOf(q.QE.Chain)
		if v.Signatures(q) == nil && !bytes.HasPrefix(recorded[0], q.Signed) && !bytes.HasPrefix(recorded[1], q.Signed) && !known(t, q.Signed) {
			t.Errorf("a quote that nobody recorded is signed: %x", q.Signed)
		}
	})
}

func known(t testing.TB, signed []byte) bool {
	return bytes.HasPrefix(read(t, "trustee/tdx_quote_6.dat"), signed) || bytes.HasPrefix(read(t, "go-tdx-guest/tdx_prod_quote_SPR_E4.dat"), signed)
}

// No document but the recorded ones is taken for Intel's.
//
//fuzz:parser collateral.go
func FuzzCollateral(f *testing.F) {
	c := collateral(f)
	for _, raw := range c.Signed {
		f.Add(raw, c.Revoked[0])
	}
	f.Add([]byte(`{"tcbInfo":{},"enclaveIdentity":{},"signature":"00"}`), c.Revoked[1])
	f.Fuzz(func(t *testing.T, document, list []byte) {
		_, err := verify.New(verify.Config{Collateral: verify.Collateral{Signed: [][]byte{document}, Signers: c.Signers, Revoked: [][]byte{list}}})
		if err != nil {
			return
		}
		for _, raw := range c.Signed {
			if bytes.Contains(document, raw[bytes.IndexByte(raw, ':')+1:bytes.LastIndex(raw, []byte(`,"signature"`))]) {
				return
			}
		}
		t.Errorf("taken for Intel's: %s", document)
	})
}
