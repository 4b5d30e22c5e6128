package verify

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest"
)

// Object identifiers of the TCG EK Credential Profile 2.5, 3.2.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEKCertificate  = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidManufacturer   = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidModel          = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidVersion        = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

// endorsed checks that a trusted authority issued der for an endorsement key,
// and returns what it says of the device.
func (v *Verifier) endorsed(der []byte) (*x509.Certificate, map[string]string, error) {
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
	_, err = cert.Verify(x509.VerifyOptions{
		Roots:         v.roots,
		Intermediates: v.inter,
		CurrentTime:   v.clock(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", attest.ErrEndorsement, err)
	}
	return cert, device, nil
}

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
// from the TCG's default RSA template: another area with the same modulus is
// not what the manufacturer vouched for.
func endorsementKey(data []byte, cert *x509.Certificate) (tpm2.LabeledEncapsulationKey, error) {
	certified, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: the certified key is %T, expected RSA-2048", attest.ErrEndorsement, cert.PublicKey)
	}
	public, err := parse[tpm2.TPMTPublic](data)
	if err != nil {
		return nil, fmt.Errorf("%w: endorsement key: %w", attest.ErrMalformed, err)
	}
	template := tpm2.RSAEKTemplate
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: certified.N.Bytes()})
	if certified.E != defaultExponent || !slices.Equal(tpm2.Marshal(template), data) {
		return nil, fmt.Errorf("%w: the offered endorsement key is not the certified one, made from the default template", attest.ErrEndorsement)
	}
	return tpm2.ImportEncapsulationKey(public)
}
