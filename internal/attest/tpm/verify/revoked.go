package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/attest"
)

// revocations are the lists that authorities gave out. An authority without a
// list revoked nothing that is known here.
type revocations []*x509.RevocationList

// readRevocations reads lists, each PEM (one or more) or DER.
func readRevocations(files [][]byte) (revocations, error) {
	var all revocations
	for i, data := range files {
		der := [][]byte{data}
		if block, _ := pem.Decode(data); block != nil {
			der = nil
			for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
				der = append(der, block.Bytes)
			}
		}
		for _, d := range der {
			list, err := x509.ParseRevocationList(d)
			if err != nil {
				return nil, fmt.Errorf("revocation list %d: %w", i, err)
			}
			all = append(all, list)
		}
	}
	return all, nil
}

// judge checks that no certificate of the chain was revoked by the next one,
// and says until when that, and the chain, will hold.
func (r revocations) judge(chain []*x509.Certificate, now time.Time) (time.Time, error) {
	until := chain[0].NotAfter
	for i, cert := range chain {
		if cert.NotAfter.Before(until) {
			until = cert.NotAfter
		}
		if i+1 == len(chain) {
			return until, nil
		}
		next, err := r.by(chain[i+1], cert, now)
		if err != nil {
			return until, err
		}
		if !next.IsZero() && next.Before(until) {
			until = next
		}
	}
	return until, errors.New("a chain of no certificates")
}

// by looks cert up in the lists that issuer signed. A list says nothing of what
// was revoked after its next update was due.
func (r revocations) by(issuer, cert *x509.Certificate, now time.Time) (time.Time, error) {
	var newest *x509.RevocationList
	for _, list := range r {
		if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return time.Time{}, fmt.Errorf("%w: %q revoked certificate %x of %q on %s (reason %d)",
					attest.ErrRevoked, issuer.Subject, cert.SerialNumber, cert.Subject, day(e.RevocationTime), e.ReasonCode)
			}
		}
		if newest == nil || list.NextUpdate.After(newest.NextUpdate) {
			newest = list
		}
	}
	if newest == nil {
		return time.Time{}, nil
	}
	if !newest.NextUpdate.IsZero() && now.After(newest.NextUpdate) {
		return time.Time{}, fmt.Errorf("%w: that of %q was to be replaced by %s", attest.ErrRevocationList, issuer.Subject, day(newest.NextUpdate))
	}
	return newest.NextUpdate, nil
}
