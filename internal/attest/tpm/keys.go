package tpm

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// A key is loaded in the TPM.
type key struct {
	tpm2.NamedHandle
	public    *tpm2.TPMTPublic
	transient bool // to be flushed
}

type keys struct {
	endorsement Endorsement
	certificate []byte // X.509 DER of ek
	ek, ak      key
}

func makeKeys(t transport.TPM, algorithm Algorithm) (*keys, error) {
	k := &keys{}
	var err error
	if k.endorsement, k.certificate, err = findEndorsement(t); err != nil {
		return nil, err
	}
	if k.ek, err = endorsementKey(t, k.endorsement, k.certificate); err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	if k.ak, err = attestationKey(t, algorithm); err != nil {
		return nil, errors.Join(fmt.Errorf("create attestation key: %w", err), k.flush(t))
	}
	return k, nil
}

// findEndorsement takes the first certificate that the TPM has.
func findEndorsement(t transport.TPM) (Endorsement, []byte, error) {
	var missing error
	for _, e := range Endorsements() {
		certificate, err := readCertificate(t, e.Certificate)
		if err == nil {
			return e, certificate, nil
		}
		if !errors.Is(err, tpm2.TPMRCHandle) { // else the TPM has no such index
			return e, nil, fmt.Errorf("read endorsement certificate %s: %w", e.Name, err)
		}
		missing = cmp.Or(missing, err)
	}
	return Endorsement{}, nil, fmt.Errorf("read endorsement certificate: the TPM has none: %w", missing)
}

// attestationKey makes an RSA key where nothing else is asked for, or P-256 if
// the TPM has no RSA.
func attestationKey(t transport.TPM, algorithm Algorithm) (key, error) {
	template, err := cmp.Or(algorithm, RSA).Template()
	if err != nil {
		return key{}, err
	}
	k, err := createPrimary(t, template)
	if algorithm == "" && (errors.Is(err, tpm2.TPMRCType) || errors.Is(err, tpm2.TPMRCValue)) {
		return attestationKey(t, P256)
	}
	return k, err
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
func endorsementKey(t transport.TPM, e Endorsement, certificate []byte) (key, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return key{}, err
	}
	if rsp, err := (tpm2.ReadPublic{ObjectHandle: e.Persistent}).Execute(t); err == nil {
		if public, err := rsp.OutPublic.Contents(); err == nil && certifies(cert, public) {
			return key{NamedHandle: tpm2.NamedHandle{Handle: e.Persistent, Name: rsp.Name}, public: public}, nil
		}
	}
	k, err := createPrimary(t, e.Template)
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
	k, ok := pub.(interface{ Equal(crypto.PublicKey) bool })
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

func readCertificate(t transport.TPM, index tpm2.TPMHandle) ([]byte, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t)
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
			AuthHandle: tpm2.AuthHandle{Handle: index, Name: rsp.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: rsp.NVName},
			Size:       min(left, nvChunk),
			Offset:     public.DataSize - left,
		}.Execute(t)
		if err != nil {
			return nil, err
		}
		data.Write(part.Data.Buffer)
		left -= min(left, nvChunk)
	}
	return Certificate(data.Bytes())
}

// Certificate cuts one out of an NV index, which may be larger than what it
// holds.
func Certificate(index []byte) ([]byte, error) {
	var certificate asn1.RawValue
	if _, err := asn1.Unmarshal(index, &certificate); err != nil {
		return nil, err
	}
	return certificate.FullBytes, nil
}
