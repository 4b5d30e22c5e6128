// Package impostor makes evidence that a verifier must refuse: keys that live
// in software and say that they live in a TPM.
//
// It is what an adversary would write. Tests and attacks share it, so that
// both try the same lies.
package impostor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
)

// A Key is in no TPM.
type Key struct {
	private crypto.Signer
	area    tpm2.TPMTPublic
}

// NewKey makes a key of the kind that a TPM would.
func NewKey() (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	area := tpm.AKTemplate()
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: private.N.Bytes()})
	return &Key{private, area}, nil
}

// NewP256Key makes one that signs by ECDSA.
func NewP256Key() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	area, err := tpm.P256.Template()
	if err != nil {
		return nil, err
	}
	point, err := private.PublicKey.Bytes() // 4, X and Y
	if err != nil {
		return nil, err
	}
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})
	return &Key{private, area}, nil
}

// Public is a public area that claims the key to be in a TPM, and to sign
// nothing but what that TPM says.
func (k *Key) Public() *tpm2.TPMTPublic { return &k.area }

// Quote makes up what a TPM with the key would have signed: e's message, for
// another nonce, over the PCR values that e shows, and with the key's own name.
func (k *Key) Quote(e *api.TPMEvidence, nonce []byte) error {
	name, err := tpm2.ObjectName(k.Public())
	if err != nil {
		return err
	}
	err = Restate(e, func(message *tpm2.TPMSAttest) {
		message.QualifiedSigner = tpm2.TPM2BName{Buffer: verify.QualifiedName(tpm2.TPMRHEndorsement, name.Buffer)}
		message.ExtraData = tpm2.TPM2BData{Buffer: nonce}
	})
	if err != nil {
		return err
	}
	return k.Sign(e)
}

// Restate makes e's message one over the PCR values that e shows, with other
// changes beside. Nobody has signed it.
func Restate(e *api.TPMEvidence, also func(*tpm2.TPMSAttest)) error {
	raw, err := base64.StdEncoding.DecodeString(e.Quote.Message)
	if err != nil {
		return err
	}
	message, err := tpm2.Unmarshal[tpm2.TPMSAttest](raw)
	if err != nil {
		return err
	}
	digest := sha256.New()
	for _, text := range e.Quote.PCRs {
		value, err := hex.DecodeString(text)
		if err != nil {
			return err
		}
		digest.Write(value)
	}
	message.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
		PCRSelect: tpm.AllPCRs(tpm.SHA256), PCRDigest: tpm2.TPM2BDigest{Buffer: digest.Sum(nil)},
	})
	also(message)
	e.Quote.Message = base64.StdEncoding.EncodeToString(tpm2.Marshal(message))
	return nil
}

// Sign makes the key the one that vouches for the quote in e.
func (k *Key) Sign(e *api.TPMEvidence) error {
	message, err := base64.StdEncoding.DecodeString(e.Quote.Message)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(message)
	raw, err := k.private.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return err
	}
	signature := tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
		Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: raw},
	})}
	if k.area.Type == tpm2.TPMAlgECC {
		var points struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(raw, &points); err != nil {
			return err
		}
		signature = tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: points.R.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: points.S.Bytes()},
		})}
	}
	e.Quote.Signature = base64.StdEncoding.EncodeToString(tpm2.Marshal(signature))
	e.AKPublic = base64.StdEncoding.EncodeToString(der)
	return nil
}
