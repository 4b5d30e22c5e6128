package verify

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// Object identifiers of the TCG EK Credential Profile 2.5, 3.2.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEKCertificate  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidManufacturer   = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidModel          = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidVersion        = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

// endorsed checks that a trusted authority issued der, whose SHA-256 is id, for
// an endorsement key, and returns what it says of the device.
func (v *Verifier) endorsed(id [sha256.Size]byte, der []byte) (*x509.Certificate, map[string]string, error) {
	if e := v.known.get(id, v.clock()); e != nil {
		return e.cert, e.device, nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: endorsement certificate: %w", attest.ErrMalformed, err)
	}
	device, err := deviceNames(cert)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: subject alternative name of the endorsement certificate: %w", attest.ErrEndorsement, err)
	}
	isAltName := func(id asn1.ObjectIdentifier) bool { return id.Equal(oidSubjectAltName) }
	cert.UnhandledCriticalExtensions = slices.DeleteFunc(cert.UnhandledCriticalExtensions, isAltName)
	isEK := func(id asn1.ObjectIdentifier) bool { return id.Equal(oidEKCertificate) }
	if !slices.ContainsFunc(cert.UnknownExtKeyUsage, isEK) {
		return nil, nil, fmt.Errorf("%w: the certificate is not for endorsement keys (extended key usage %v)", attest.ErrEndorsement, oidEKCertificate)
	}
	chain, until, err := v.chain(cert)
	if err != nil {
		return nil, nil, err
	}
	v.known.put(id, &endorsement{cert, device, until, v.aboveIn(chain)})
	return cert, device, nil
}

// Above returns the DER certificates that stand between a good endorsement
// certificate and a root, for who trusts the root alone.
func (v *Verifier) Above(certificate []byte) ([][]byte, error) {
	id := sha256.Sum256(certificate)
	cert, _, err := v.endorsed(id, certificate)
	if err != nil {
		return nil, err
	}
	if e := v.known.get(id, v.clock()); e != nil {
		return e.above, nil
	}
	return v.above(cert), nil // others came in between
}

// aboveIn spares looking for a way up where the one that was found goes all the
// way.
func (v *Verifier) aboveIn(chain []*x509.Certificate) [][]byte {
	top := chain[len(chain)-1]
	if !bytes.Equal(top.RawSubject, top.RawIssuer) {
		return v.above(chain[0])
	}
	return between(chain)
}

func between(chain []*x509.Certificate) [][]byte {
	all := [][]byte{}
	for _, c := range chain[1:max(1, len(chain)-1)] { // none, where the certificate itself is trusted
		all = append(all, c.Raw)
	}
	return all
}

// above goes up to a certificate that signed itself, even where one on the way
// is trusted, too.
func (v *Verifier) above(cert *x509.Certificate) [][]byte {
	opts := x509.VerifyOptions{Roots: v.tops, Intermediates: v.between, CurrentTime: v.clock(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	chains, err := cert.Verify(opts)
	if err != nil { // none that was given did: the one that is trusted is the top
		opts.Roots = v.roots
		chains, err = cert.Verify(opts)
	}
	if err != nil {
		return [][]byte{}
	}
	return between(chains[0])
}

// chain finds a good way from cert to a root, now, and says until when it holds.
func (v *Verifier) chain(cert *x509.Certificate) ([]*x509.Certificate, time.Time, error) {
	opts := x509.VerifyOptions{
		Roots:         v.roots,
		Intermediates: v.inter,
		CurrentTime:   v.clock(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	chains, err := cert.Verify(opts)
	if err != nil {
		return nil, time.Time{}, notChained(cert, opts, err)
	}
	var reasons error
	for _, chain := range chains { // one that is good will do
		until, err := v.revocations.judge(chain, opts.CurrentTime)
		if err == nil {
			return chain, until, nil
		}
		reasons = cmp.Or(reasons, err)
	}
	return nil, time.Time{}, reasons
}

// notChained says why there is no chain: because of the time alone, or because
// nobody vouches. The profile lets a maker give a certificate a life shorter
// than the TPM's (3.2.4); what is out of its time is not believed here.
func notChained(cert *x509.Certificate, opts x509.VerifyOptions, err error) error {
	if opts.CurrentTime.Before(cert.NotBefore) || opts.CurrentTime.After(cert.NotAfter) {
		return fmt.Errorf("%w: the certificate is good from %s to %s", attest.ErrExpired, day(cert.NotBefore), day(cert.NotAfter))
	}
	opts.CurrentTime = cert.NotBefore
	if chains, err := cert.Verify(opts); err == nil {
		for _, c := range chains[0][1:] {
			if opts.CurrentTime = c.NotAfter; c.NotAfter.Before(cert.NotAfter) {
				return fmt.Errorf("%w: its authority %q is good from %s to %s", attest.ErrExpired, c.Subject, day(c.NotBefore), day(c.NotAfter))
			}
		}
	}
	return fmt.Errorf("%w: %w", attest.ErrEndorsement, err)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// deviceNames reads manufacturer, model and version from the directory name
// that stands in the critical subject alternative name (profile 3.2.9), which
// crypto/x509 leaves unhandled.
func deviceNames(cert *x509.Certificate) (map[string]string, error) {
	device := map[string]string{}
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return nil, errors.Join(errors.New("not a list of names"), err)
		}
		for _, name := range names {
			if err := readDirectoryName(name, device); err != nil {
				return nil, err
			}
		}
	}
	return device, nil
}

func readDirectoryName(name asn1.RawValue, device map[string]string) error {
	const directoryName = 4 // RFC 5280, 4.2.1.6
	if name.Class != asn1.ClassContextSpecific || name.Tag != directoryName {
		return fmt.Errorf("name of kind %d, expected a directory name", name.Tag)
	}
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(name.Bytes, &sequence); err != nil || len(rest) > 0 {
		return errors.Join(errors.New("malformed directory name"), err)
	}
	for _, set := range sequence {
		for _, attribute := range set {
			text, _ := attribute.Value.(string)
			switch {
			case attribute.Type.Equal(oidManufacturer):
				device["manufacturer"] = text
			case attribute.Type.Equal(oidModel):
				device["model"] = text
			case attribute.Type.Equal(oidVersion):
				device["version"] = text
			}
		}
	}
	return nil
}

// endorsementKey checks that data is the public area of the certified key, made
// from one of the TCG's default templates: another area with the same key is
// not what the manufacturer vouched for.
func (v *Verifier) endorsementKey(data []byte, cert *x509.Certificate) (tpm2.LabeledEncapsulationKey, error) {
	certified, err := strong(cert.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: the certified key: %w", attest.ErrEndorsement, err)
	}
	public, err := v.heads.parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: endorsement key: %w", attest.ErrMalformed, err)
	}
	pub, err := tpm2.Pub(*public)
	if err != nil {
		return nil, fmt.Errorf("%w: endorsement key: %w", attest.ErrMalformed, err)
	}
	fromTemplate := func(head []byte) bool { return bytes.HasPrefix(data, head) }
	if !certified.Equal(pub) || !slices.ContainsFunc(v.templates, fromTemplate) {
		return nil, fmt.Errorf("%w: the offered endorsement key is not the certified one, made from a default template", attest.ErrEndorsement)
	}
	v.heads.learn(data, public)
	return tpm2.ImportEncapsulationKey(public)
}

// templateHeads are the default templates, marshalled without what is the
// key's own.
func templateHeads() [][]byte {
	var heads [][]byte
	for _, e := range tpm.Endorsements() {
		own := tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
		size := 2
		if e.Template.Type == tpm2.TPMAlgECC {
			own, size = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}), 4
		}
		e.Template.Unique = own
		all := tpm2.Marshal(e.Template)
		heads = append(heads, all[:len(all)-size])
	}
	return heads
}
