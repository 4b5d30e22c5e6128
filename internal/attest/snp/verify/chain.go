package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
)

// An Authority certifies the keys of one line of processors.
type Authority struct {
	Root *x509.Certificate // ARK
	VCEK *x509.Certificate // ASK
	VLEK *x509.Certificate // ASVK; nil when it certifies no VLEKs
}

func (a Authority) intermediate(e snp.Endorsement) *x509.Certificate {
	if e == snp.VLEK {
		return a.VLEK
	}
	return a.VCEK
}

// vouch checks that one of the authorities vouches for cert as a key of the
// kind that the report names.
func (v *Verifier) vouch(cert *x509.Certificate, r *snp.Report) error {
	kind := r.Signer()
	if kind != snp.VCEK && kind != snp.VLEK {
		return fmt.Errorf("%w: the report says that it is signed by a %v", attest.ErrMalformed, kind)
	}
	if want := "SEV-" + kind.String(); cert.Subject.CommonName != want {
		return fmt.Errorf("%w: the report says that it is signed by a %v, and the certificate is of %.80q", attest.ErrPlatform, kind, cert.Subject.CommonName)
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P384() {
		return fmt.Errorf("%w: %v is no P-384 key", attest.ErrEndorsement, kind)
	}
	err := fmt.Errorf("%w: no authority of %s is known for a %v", attest.ErrEndorsement, r.Product, kind)
	for _, a := range v.authorities[r.Product] {
		if a.intermediate(kind) == nil {
			continue
		}
		if err = v.certified(cert, a.intermediate(kind), a.Root); err == nil {
			return nil
		}
	}
	return err
}

// check holds an authority's certificates together, once for all handshakes.
func (a Authority) check() error {
	for _, c := range []*x509.Certificate{a.VCEK, a.VLEK} {
		if c == nil {
			continue
		}
		if err := c.CheckSignatureFrom(a.Root); err != nil {
			return fmt.Errorf("%s is not certified by %s: %w", c.Subject.CommonName, a.Root.Subject.CommonName, err)
		}
	}
	return nil
}

// certified checks one chain of three: the leaf's signature, since New has
// checked the others, times and revocations.
func (v *Verifier) certified(leaf, middle, root *x509.Certificate) error {
	now := v.clock()
	if !bytes.Equal(leaf.RawIssuer, middle.RawSubject) || leaf.CheckSignatureFrom(middle) != nil {
		return fmt.Errorf("%w: %s is not certified by %s", attest.ErrEndorsement, leaf.Subject.CommonName, middle.Subject.CommonName)
	}
	for _, c := range []*x509.Certificate{leaf, middle, root} {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("%w: %s is good from %s to %s", attest.ErrExpired, c.Subject.CommonName, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		}
	}
	if err := v.unrevoked(middle, root); err != nil {
		return err
	}
	return v.unrevoked(leaf, middle)
}

// unrevoked asks the lists that issuer signed about cert. A list that is out of
// date says nothing, so it refuses.
func (v *Verifier) unrevoked(cert, issuer *x509.Certificate) error {
	for _, list := range v.revoked {
		if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if v.clock().After(list.NextUpdate) {
			return fmt.Errorf("%w: the list of what %s revoked ended on %s", attest.ErrCollateral, issuer.Subject.CommonName, list.NextUpdate.Format(time.DateOnly))
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return fmt.Errorf("%w: %s, on %s", attest.ErrRevoked, cert.Subject.CommonName, entry.RevocationTime.Format(time.DateOnly))
			}
		}
	}
	return nil
}

// What AMD writes into the certificates of its keys: "VCEK Certificate and KDS
// Interface Specification" (AMD publication 57230), section 3.1.
var (
	oidBootloader = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 1}
	oidTEE        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 2}
	oidSNP        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 3}
	oidMicrocode  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 8}
	oidFMC        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 9}
	oidHardware   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}
)

// matches checks that the certificate is of the very chip and firmware level
// that the report claims.
func matches(cert *x509.Certificate, r *snp.Report) error {
	tcb := r.ReportedTCB()
	parts := []struct {
		name string
		oid  asn1.ObjectIdentifier
		want byte
	}{
		{"bootloader", oidBootloader, tcb.Bootloader}, {"tee", oidTEE, tcb.TEE},
		{"snp", oidSNP, tcb.SNP}, {"microcode", oidMicrocode, tcb.Microcode},
	}
	if r.Product == snp.Turin {
		parts = append(parts[:len(parts):len(parts)], parts[0])
		parts[len(parts)-1].name, parts[len(parts)-1].oid, parts[len(parts)-1].want = "fmc", oidFMC, tcb.FMC
	}
	for _, p := range parts {
		var got int
		if rest, err := asn1.Unmarshal(extension(cert, p.oid), &got); err != nil || len(rest) > 0 {
			return fmt.Errorf("%w: it does not name the level of %s", attest.ErrPlatform, p.name)
		}
		if got != int(p.want) {
			return fmt.Errorf("%w: it is for %s %d, the report says %d", attest.ErrPlatform, p.name, got, p.want)
		}
	}
	if r.Signer() == snp.VLEK {
		return nil
	}
	return sameChip(cert, r)
}

// sameChip compares hardware IDs: 64 bytes, or on Turin 8 of these.
func sameChip(cert *x509.Certificate, r *snp.Report) error {
	id, want := extension(cert, oidHardware), r.ChipID()
	var wrapped []byte
	if rest, err := asn1.Unmarshal(id, &wrapped); err == nil && len(rest) == 0 {
		id = wrapped
	}
	if r.Product == snp.Turin && len(id) == 8 {
		want = want[:8]
	}
	if !bytes.Equal(id, want) {
		return fmt.Errorf("%w: it is for chip %.16x…, the report says %.16x…", attest.ErrPlatform, id, want)
	}
	return nil
}

func extension(cert *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}
