// Package verify judges quotes of Intel TDX.
//
// What it concludes rests on one chain: Intel's root certified the key of a
// platform (PCK); this signed the report of the quoting enclave, which is one
// that Intel knows; the report holds the digest of the attestation key; and
// that key signed the TD's report, which holds the handshake's digest and, as
// MRCONFIGID, the digest of the init-data document. How well the platform is
// kept follows from collateral that Intel signed: TCB info, enclave identity
// and lists of revoked certificates. No network is asked: Config gives it, and
// what is out of date refuses.
//
// Evidence and claims have the form and the names of Trustee's tdx verifier;
// docs/formats/evidence.md lists them. Whether a measurement, a TCB status or a
// debugged machine is good enough is for policy to say.
package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ccel"
	"holdfast/internal/attest/tdx"
)

// TEE is the kind's name in the KBS protocol.
const TEE = "tdx"

// Config says whom to believe, and what Intel says of its platforms.
type Config struct {
	Root       *x509.Certificate // default Intel's SGX root CA
	Collateral Collateral
	Clock      func() time.Time // default time.Now
}

// A Verifier judges TDX evidence.
type Verifier struct {
	root  *x509.Certificate
	known known
	clock func() time.Time
}

var _ attest.Verifier = (*Verifier)(nil)

// New returns a Verifier, and refuses collateral that Intel did not sign.
func New(c Config) (*Verifier, error) {
	v := &Verifier{root: c.Root, clock: c.Clock}
	if v.clock == nil {
		v.clock = time.Now
	}
	var err error
	if v.root == nil {
		if v.root, err = intel(); err != nil {
			return nil, err
		}
	}
	v.known, err = c.Collateral.read(v.root)
	return v, err
}

// TEE is the kind of evidence judged.
func (v *Verifier) TEE() string { return TEE }

// Begin has nothing to ask of a machine beyond its quote.
func (v *Verifier) Begin(api.RequestParams) (attest.Session, error) {
	return attest.Judge(v.verify), nil
}

func (v *Verifier) verify(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	var e struct {
		Quote    string  `json:"quote"`
		EventLog *string `json:"cc_eventlog"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrMalformed, err)
	}
	data, err := base64.StdEncoding.DecodeString(e.Quote)
	if err != nil {
		return nil, fmt.Errorf("%w: quote: %w", attest.ErrMalformed, err)
	}
	quote, err := tdx.ParseQuote(data)
	if err != nil {
		return nil, err
	}
	claims, err := v.Judge(quote)
	if err != nil {
		return nil, err
	}
	if err := bind(quote, bound, claims); err != nil {
		return nil, err
	}
	if e.EventLog == nil || *e.EventLog == "" {
		return claims, nil
	}
	return claims, explain(*e.EventLog, quote, claims)
}

// Judge checks everything about a quote but what it is bound to, which is for
// the caller to compare.
func (v *Verifier) Judge(q *tdx.Quote) (attest.Claims, error) {
	pck, err := v.platform(q.QE.Chain)
	if err != nil {
		return nil, err
	}
	if err := signatures(q, pck.cert); err != nil {
		return nil, err
	}
	standing, err := v.standing(q, pck)
	if err != nil {
		return nil, err
	}
	return claimsOf(q, pck, standing), nil
}

func bind(q *tdx.Quote, bound attest.Binding, claims attest.Claims) error {
	if len(bound.RuntimeDigest) == 0 || !bytes.Equal(q.Body.ReportData(), attest.Fit(bound.RuntimeDigest, 64)) {
		return attest.ErrNonce
	}
	if bound.InitDataDigest == nil {
		return nil
	}
	if want := attest.Fit(bound.InitDataDigest, 48); !bytes.Equal(q.Body.ConfigID(), want) {
		return fmt.Errorf("%w: the quote's MRCONFIGID is %x, expected %x", attest.ErrLaunchData, q.Body.ConfigID(), want)
	}
	claims["init_data_digest"] = hex.EncodeToString(bound.InitDataDigest)
	return nil
}

// explain replays the event log and adds its events to claims.
func explain(text string, q *tdx.Quote, claims attest.Claims) error {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: cc_eventlog: %w", attest.ErrMalformed, err)
	}
	log, err := ccel.Parse(raw)
	if err != nil {
		return err
	}
	for n, got := range log.Replay() {
		if !bytes.Equal(got[:], q.Body.RTMR(n)) {
			return fmt.Errorf("%w to the quoted value of RTMR %d", attest.ErrEventLog, n)
		}
	}
	claims["uefi_event_logs"] = log.Claims()
	return nil
}
