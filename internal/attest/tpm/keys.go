package tpm

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Where the TCG EK Credential Profile 2.5 keeps the RSA-2048 endorsement
// certificate, and where manufacturers leave the key.
const (
	ekCertificateIndex = tpm2.TPMHandle(0x01c00002)
	ekHandle           = tpm2.TPMHandle(0x81010001)
)

// AKTemplate is the attestation key: a restricted signing key, which signs
// only what the TPM itself says, with RSASSA and SHA-256 because that is what
// Trustee reads.
func AKTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgRSA,
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
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{}),
	}
}

// A key is loaded in the TPM.
type key struct {
	tpm2.NamedHandle
	public    *tpm2.TPMTPublic
	transient bool // to be flushed
}

type keys struct {
	certificate []byte // X.509 DER of ek
	ek, ak      key
}

func makeKeys(t transport.TPM) (*keys, error) {
	k := &keys{}
	var err error
	if k.certificate, err = readCertificate(t); err != nil {
		return nil, fmt.Errorf("read endorsement certificate: %w", err)
	}
	if k.ek, err = endorsementKey(t, k.certificate); err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	if k.ak, err = createPrimary(t, AKTemplate()); err != nil {
		return nil, errors.Join(fmt.Errorf("create attestation key: %w", err), k.flush(t))
	}
	return k, nil
}

func (k *keys) flush(t transport.TPM) error {
	var errs []error
	for _, key := range []key{k.ak, k.ek} {
		if key.transient {
			errs = append(errs, flush(t, key.Handle))
		}
	}
	return errors.Join(errs...)
}

// endorsementKey uses the key that the manufacturer left, or derives it again
// from the seed; whichever is the certificate's.
func endorsementKey(t transport.TPM, certificate []byte) (key, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return key{}, err
	}
	if rsp, err := (tpm2.ReadPublic{ObjectHandle: ekHandle}).Execute(t); err == nil {
		if public, err := rsp.OutPublic.Contents(); err == nil && certifies(cert, public) {
			return key{NamedHandle: tpm2.NamedHandle{Handle: ekHandle, Name: rsp.Name}, public: public}, nil
		}
	}
	k, err := createPrimary(t, tpm2.RSAEKTemplate)
	if err != nil {
		return key{}, err
	}
	if !certifies(cert, k.public) {
		return key{}, errors.Join(errors.New("the certificate in the TPM is for another key"), flush(t, k.Handle))
	}
	return k, nil
}

func certifies(cert *x509.Certificate, public *tpm2.TPMTPublic) bool {
	pub, err := tpm2.Pub(*public)
	if err != nil {
		return false
	}
	k, ok := pub.(*rsa.PublicKey)
	return ok && k.Equal(cert.PublicKey)
}

// createPrimary makes a key in the endorsement hierarchy, whose seed changes
// only with the TPM's identity.
func createPrimary(t transport.TPM, template tpm2.TPMTPublic) (key, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return key{}, err
	}
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return key{}, errors.Join(err, flush(t, rsp.ObjectHandle))
	}
	return key{tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, public, true}, nil
}

// nvChunk is what every TPM reads at once (TPM_PT_NV_BUFFER_MAX is at least 512).
const nvChunk = 512

func readCertificate(t transport.TPM) ([]byte, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: ekCertificateIndex}.Execute(t)
	if err != nil {
		return nil, err
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	for left := public.DataSize; left > 0; {
		part, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: ekCertificateIndex, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: ekCertificateIndex, Name: rsp.NVName},
			Size:       min(left, nvChunk),
			Offset:     public.DataSize - left,
		}.Execute(t)
		if err != nil {
			return nil, err
		}
		data.Write(part.Data.Buffer)
		left -= min(left, nvChunk)
	}
	var certificate asn1.RawValue // the index may be larger than what it holds
	if _, err := asn1.Unmarshal(data.Bytes(), &certificate); err != nil {
		return nil, err
	}
	return certificate.FullBytes, nil
}
