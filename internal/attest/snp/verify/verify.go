// Package verify judges reports of AMD SEV-SNP.
//
// What it concludes rests on one chain: AMD's root of a line of processors
// certified the key of the chip (VCEK) or of who runs it (VLEK), for exactly
// the firmware levels that the report names; that key signed the report; and
// the report holds the handshake's digest and the digest of the init-data
// document that the machine was launched with. No network is asked: what the
// evidence does not bring comes from the collateral that Config gives.
//
// Evidence and claims have the form and the names of Trustee's snp verifier;
// docs/formats/evidence.md lists them. Whether a measurement, a firmware level
// or a debugged machine is good enough is for policy to say.
package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/verify"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
)

// TEE is the kind's name in the KBS protocol.
const TEE = "snp"

// Config says whom to believe. Its zero value believes AMD.
type Config struct {
	// Authorities are believed instead of AMD's when there are any.
	Authorities map[snp.Product][]Authority

	// Revoked are lists of revoked certificates, in DER. Of a root whose list
	// is absent everything is taken to be good.
	Revoked [][]byte

	// Endorsement finds the certificate of the chip's key, in DER, when the
	// evidence has none; nil finds none.
	Endorsement func(Chip) ([]byte, error)

	Clock func() time.Time // default time.Now
}

// A Chip is one processor at one firmware level.
type Chip struct {
	Product snp.Product
	ID      []byte // 64 bytes
	TCB     snp.TCB
}

// A Verifier judges SNP evidence.
type Verifier struct {
	authorities map[snp.Product][]Authority
	revoked     []*x509.RevocationList
	find        func(Chip) ([]byte, error)
	clock       func() time.Time
}

var _ attest.Verifier = (*Verifier)(nil)

// New returns a Verifier.
func New(c Config) (*Verifier, error) {
	v := &Verifier{authorities: c.Authorities, find: c.Endorsement, clock: c.Clock}
	if v.clock == nil {
		v.clock = time.Now
	}
	for _, raw := range c.Revoked {
		list, err := x509.ParseRevocationList(raw)
		if err != nil {
			return nil, fmt.Errorf("list of revoked certificates: %w", err)
		}
		v.revoked = append(v.revoked, list)
	}
	if len(v.authorities) == 0 {
		var err error
		if v.authorities, err = AMD(); err != nil {
			return nil, err
		}
	}
	for line, list := range v.authorities {
		for _, a := range list {
			if err := a.check(); err != nil {
				return nil, fmt.Errorf("authority of %s: %w", line, err)
			}
		}
	}
	return v, nil
}

// TEE is the kind of evidence judged.
func (v *Verifier) TEE() string { return TEE }

// Begin has nothing to ask of a machine beyond its report.
func (v *Verifier) Begin(api.RequestParams) (attest.Session, error) {
	return attest.Judge(v.verify), nil
}

func (v *Verifier) verify(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	report, chain, err := snp.ParseEvidence(raw)
	if err != nil {
		return nil, err
	}
	cert, err := v.endorsement(report, chain)
	if err != nil {
		return nil, err
	}
	claims, err := v.Judge(report, cert)
	if err != nil {
		return nil, err
	}
	return claims, bind(report, bound, claims)
}

// Judge checks that the key of cert signed the report, and that AMD vouches
// for it on this chip at this firmware level. What the report says of the
// handshake is for the caller to compare.
func (v *Verifier) Judge(r *snp.Report, cert *x509.Certificate) (attest.Claims, error) {
	if _, err := abi.ReportToProto(r.Bytes()); err != nil {
		return nil, fmt.Errorf("%w: SNP report: %w", attest.ErrMalformed, err)
	}
	if err := v.vouch(cert, r); err != nil {
		return nil, err
	}
	if err := verify.SnpReportSignature(r.Bytes(), cert); err != nil {
		return nil, fmt.Errorf("%w: SNP report: %w", attest.ErrSignature, err)
	}
	if err := matches(cert, r); err != nil {
		return nil, err
	}
	if r.VMPL() != 0 {
		return nil, fmt.Errorf("%w: VMPL %d, expected 0", attest.ErrPrivilege, r.VMPL())
	}
	return claimsOf(r), nil
}

func bind(r *snp.Report, bound attest.Binding, claims attest.Claims) error {
	if len(bound.RuntimeDigest) == 0 || !bytes.Equal(r.ReportData(), attest.Fit(bound.RuntimeDigest, 64)) {
		return attest.ErrNonce
	}
	if bound.InitDataDigest == nil {
		return nil
	}
	if want := attest.Fit(bound.InitDataDigest, 32); !bytes.Equal(r.HostData(), want) {
		return fmt.Errorf("%w: the report's host data is %x, expected %x", attest.ErrLaunchData, r.HostData(), want)
	}
	claims["init_data_digest"] = hex.EncodeToString(bound.InitDataDigest)
	return nil
}

// endorsement is the certificate of the key that the report says signed it:
// the machine's own, or one from the collateral.
func (v *Verifier) endorsement(r *snp.Report, chain []snp.Certificate) (*x509.Certificate, error) {
	for _, entry := range chain {
		if string(entry.Type) == r.Signer().String() {
			return ParseCertificate(entry.Data)
		}
	}
	for _, entry := range chain {
		if entry.Type == "VCEK" || entry.Type == "VLEK" {
			return nil, fmt.Errorf("%w: the report says that it is signed by a %v, and the evidence has the certificate of a %s", attest.ErrPlatform, r.Signer(), entry.Type)
		}
	}
	if v.find == nil || r.Signer() != snp.VCEK {
		return nil, fmt.Errorf("%w: the evidence has no certificate of its %v, and none was given", attest.ErrCollateral, r.Signer())
	}
	raw, err := v.find(Chip{Product: r.Product, ID: r.ChipID(), TCB: r.ReportedTCB()})
	if err != nil {
		return nil, fmt.Errorf("%w: VCEK of chip %.16x…: %w", attest.ErrCollateral, r.ChipID(), err)
	}
	return ParseCertificate(raw)
}

// ParseCertificate reads a certificate in DER.
func ParseCertificate(raw []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate: %w", attest.ErrMalformed, err)
	}
	return cert, nil
}
