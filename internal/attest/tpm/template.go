package tpm

import (
	"encoding/hex"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// An Algorithm is what an attestation key signs with.
type Algorithm string

// RSA is what Trustee reads: see docs/decisions/0009.
const (
	RSA    Algorithm = "rsa"    // RSA-2048, RSASSA and SHA-256
	RSAPSS Algorithm = "rsapss" // RSA-2048, RSAPSS and SHA-256
	P256   Algorithm = "p256"   // ECDSA, NIST P-256 and SHA-256
	P384   Algorithm = "p384"   // ECDSA, NIST P-384 and SHA-384
)

// AKTemplate is the attestation key that is made when nothing else is asked for.
func AKTemplate() tpm2.TPMTPublic { return restricted(rsaParameters(tpm2.TPMAlgRSASSA)) }

// Template is a restricted signing key, which signs only what the TPM itself
// says.
func (a Algorithm) Template() (tpm2.TPMTPublic, error) {
	switch a {
	case RSA:
		return AKTemplate(), nil
	case RSAPSS:
		return restricted(rsaParameters(tpm2.TPMAlgRSAPSS)), nil
	case P256:
		return restricted(eccParameters(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)), nil
	case P384:
		return restricted(eccParameters(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384)), nil
	}
	return tpm2.TPMTPublic{}, fmt.Errorf("attestation key %q: expected %s, %s, %s or %s", string(a), RSA, RSAPSS, P256, P384)
}

func restricted(kind tpm2.TPMAlgID, parameters tpm2.TPMUPublicParms, unique tpm2.TPMUPublicID) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    kind,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM:            true,
			FixedParent:         true,
			SensitiveDataOrigin: true,
			UserWithAuth:        true,
			NoDA:                true,
			Restricted:          true,
			SignEncrypt:         true,
		},
		Parameters: parameters,
		Unique:     unique,
	}
}

func rsaParameters(scheme tpm2.TPMAlgID) (tpm2.TPMAlgID, tpm2.TPMUPublicParms, tpm2.TPMUPublicID) {
	details := tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})
	if scheme == tpm2.TPMAlgRSAPSS {
		details = tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256})
	}
	return tpm2.TPMAlgRSA, tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{Scheme: scheme, Details: details}, KeyBits: 2048,
	}), tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
}

func eccParameters(curve tpm2.TPMECCCurve, hash tpm2.TPMAlgID) (tpm2.TPMAlgID, tpm2.TPMUPublicParms, tpm2.TPMUPublicID) {
	return tpm2.TPMAlgECC, tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme: tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash}),
		},
		CurveID: curve,
	}), tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
}

// An Endorsement is a place where a maker leaves a certificate, and the
// template that its key is derived from (TCG EK Credential Profile 2.5, 2.2.1
// and B.3 to B.4).
type Endorsement struct {
	Name        string         // the profile's
	Certificate tpm2.TPMHandle // NV index
	Persistent  tpm2.TPMHandle // where makers, and swtpm_setup, leave the key
	Template    tpm2.TPMTPublic
	// WithPolicy says that the key is used by PolicySecret(endorsement); else
	// its own, empty, password will do.
	WithPolicy bool
}

// Endorsements are those that are known, in the order of preference: RSA-2048,
// P-256, and the same and P-384 in the high range.
func Endorsements() []Endorsement {
	return []Endorsement{
		{"L-1", 0x01c00002, 0x81010001, tpm2.RSAEKTemplate, true},
		{"L-2", 0x01c0000a, 0x81010002, tpm2.ECCEKTemplate, true},
		{"H-1", 0x01c00012, 0x81010012, highRSA(), false},
		{"H-2", 0x01c00014, 0x81010014, highECC(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256, 128, policyB256), false},
		{"H-3", 0x01c00016, 0x81010016, highECC(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384, 256, policyB384), false},
	}
}

// PolicySecret(endorsement) or PolicyAuthorizeNV (profile, B.6.5).
const (
	policyB256 = "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0"
	policyB384 = "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12"
)

func highRSA() tpm2.TPMTPublic {
	t := tpm2.RSAEKTemplate
	t.ObjectAttributes.UserWithAuth = true
	t.AuthPolicy.Buffer, _ = hex.DecodeString(policyB256)
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	return t
}

func highECC(curve tpm2.TPMECCCurve, name tpm2.TPMAlgID, aes uint16, policy string) tpm2.TPMTPublic {
	t := tpm2.ECCEKTemplate
	t.NameAlg = name
	t.ObjectAttributes.UserWithAuth = true
	t.AuthPolicy.Buffer, _ = hex.DecodeString(policy)
	t.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Symmetric: tpm2.TPMTSymDefObject{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(aes)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		},
		CurveID: curve,
	})
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}
