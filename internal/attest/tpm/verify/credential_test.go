package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest/tpm"
)

type nothing struct{}

func (nothing) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A credential is to the byte the one that go-tpm makes of the same seed,
// whatever endorsement key it is for.
func TestCredentialsAreThoseOfGoTPM(t *testing.T) {
	name, secret := append([]byte{0, 0x0b}, bytes.Repeat([]byte{7}, 32)...), bytes.Repeat([]byte{9}, secretSize)
	for _, e := range tpm.Endorsements() {
		public := e.Template
		switch public.Type {
		case tpm2.TPMAlgRSA:
			detail, err := public.Parameters.RSADetail()
			if err != nil {
				t.Fatal(err)
			}
			key, err := rsa.GenerateKey(rand.Reader, int(detail.KeyBits))
			if err != nil {
				t.Fatal(err)
			}
			public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()})
		case tpm2.TPMAlgECC:
			detail, err := public.Parameters.ECCDetail()
			if err != nil {
				t.Fatal(err)
			}
			curve := map[tpm2.TPMECCCurve]elliptic.Curve{tpm2.TPMECCNistP256: elliptic.P256(), tpm2.TPMECCNistP384: elliptic.P384()}[detail.CurveID]
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			size := (curve.Params().BitSize + 7) / 8
			public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
				X: tpm2.TPM2BECCParameter{Buffer: key.X.FillBytes(make([]byte, size))}, Y: tpm2.TPM2BECCParameter{Buffer: key.Y.FillBytes(make([]byte, size))}})
		}
		ek, err := tpm2.ImportEncapsulationKey(&public)
		if err != nil {
			t.Fatal(err)
		}
		same := fixedKey{ek, nil, nil}
		if same.secret, same.sealed, err = ek.Encapsulate(rand.Reader, "IDENTITY"); err != nil {
			t.Fatal(err)
		}
		wantBlob, wantSealed, err := tpm2.CreateCredential(nothing{}, same, name, secret)
		if err != nil {
			t.Fatal(err)
		}
		blob, sealed, err := makeCredential(nothing{}, same, name, secret)
		if err != nil || !bytes.Equal(blob, wantBlob) || !bytes.Equal(sealed, wantSealed) {
			t.Errorf("%v: got %x, %x, %v, want %x, %x", public.Type, blob, sealed, err, wantBlob, wantSealed)
		}
	}
}

// A fixedKey encapsulates one secret.
type fixedKey struct {
	tpm2.LabeledEncapsulationKey
	secret, sealed []byte
}

func (k fixedKey) Encapsulate(_ io.Reader, label string) ([]byte, []byte, error) {
	if label != "IDENTITY" {
		panic(label)
	}
	return k.secret, k.sealed, nil
}
