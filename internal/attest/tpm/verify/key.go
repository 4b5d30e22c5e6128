package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// A publicKey is an *rsa.PublicKey or an *ecdsa.PublicKey.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// defaultExponent is what a TPM means by an RSA exponent of 0 (TPM 2.0 Part 2,
// 12.2.3.5), and the only one accepted.
const defaultExponent = 65537

// attestationKey checks that a key with this public area could be held by
// nothing but a TPM, and would sign nothing but what a TPM says. Whether some
// TPM really holds it is for activation to show.
func (h *heads) attestationKey(data []byte) (publicKey, []byte, error) {
	public, err := h.parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: attestation key: %w", attest.ErrMalformed, err)
	}
	if err := fit(public); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", attest.ErrKeyAttributes, err)
	}
	pub, err := tpm2.Pub(*public)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: attestation key: %w", attest.ErrMalformed, err)
	}
	key, err := strong(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", attest.ErrKeyAttributes, err)
	}
	h.learn(data, public)
	return key, objectName(public.NameAlg, data), nil
}

// objectName is the name of an object with this public area: the algorithm and
// the area's digest (TPM 2.0 Part 1, "Names").
func objectName(algorithm tpm2.TPMIAlgHash, area []byte) []byte {
	b, _ := tpm.BankOf(algorithm) // one of those that fit takes
	sum := b.Hash().New()
	_, _ = sum.Write(area)
	return sum.Sum(binary.BigEndian.AppendUint16(nil, uint16(algorithm)))
}

// fit judges the attributes of a key that quotes.
func fit(public *tpm2.TPMTPublic) error {
	a := public.ObjectAttributes
	for _, need := range []struct {
		name      string
		got, want bool
	}{
		{"restricted", a.Restricted, true}, // else it would sign a quote that software made up
		{"sign", a.SignEncrypt, true},
		{"decrypt", a.Decrypt, false},
		{"fixedTPM", a.FixedTPM, true},                       // else it could be duplicated
		{"fixedParent", a.FixedParent, true},                 // likewise
		{"sensitiveDataOrigin", a.SensitiveDataOrigin, true}, // else it came from outside
	} {
		if need.got != need.want {
			return fmt.Errorf("%s is %t, must be %t", need.name, need.got, need.want)
		}
	}
	if _, ok := tpm.BankOf(public.NameAlg); !ok {
		return errors.New("expected a key named by SHA-256 or SHA-384")
	}
	return fixedScheme(public)
}

// strong says whether signatures by pub count.
func strong(pub crypto.PublicKey) (publicKey, error) {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 && key.N.BitLen() <= 4096 && key.E == defaultExponent {
			return key, nil
		}
	case *ecdsa.PublicKey:
		known := key.Curve == elliptic.P256() || key.Curve == elliptic.P384()
		if _, err := key.ECDH(); known && err == nil { // the point is on its curve
			return key, nil
		}
	}
	return nil, fmt.Errorf("expected RSA of 2048 to 4096 bits with exponent %d, or a point of P-256 or P-384", defaultExponent)
}

// fixedScheme checks that the key has one way to sign: restricted keys must
// (TPM 2.0 Part 1, 25.2).
func fixedScheme(public *tpm2.TPMTPublic) error {
	var hash tpm2.TPMIAlgHash
	switch public.Type {
	case tpm2.TPMAlgRSA:
		parameters, err := public.Parameters.RSADetail()
		if err != nil {
			return err
		}
		if hash, err = rsaScheme(parameters.Scheme); err != nil {
			return err
		}
	case tpm2.TPMAlgECC:
		parameters, err := public.Parameters.ECCDetail()
		if err != nil {
			return err
		}
		scheme, err := parameters.Scheme.Details.ECDSA()
		if parameters.Scheme.Scheme != tpm2.TPMAlgECDSA || err != nil {
			return errors.New("expected the scheme ECDSA")
		}
		hash = scheme.HashAlg
	default:
		return errors.New("expected an RSA or ECC key")
	}
	if _, ok := tpm.BankOf(hash); !ok {
		return errors.New("expected the scheme's hash SHA-256 or SHA-384")
	}
	return nil
}

func rsaScheme(scheme tpm2.TPMTRSAScheme) (tpm2.TPMIAlgHash, error) {
	switch scheme.Scheme {
	case tpm2.TPMAlgRSASSA:
		details, err := scheme.Details.RSASSA()
		if err != nil {
			return 0, err
		}
		return details.HashAlg, nil
	case tpm2.TPMAlgRSAPSS:
		details, err := scheme.Details.RSAPSS()
		if err != nil {
			return 0, err
		}
		return details.HashAlg, nil
	}
	return 0, errors.New("expected the scheme RSASSA or RSAPSS")
}

// QualifiedName is what a TPM calls a primary key of a hierarchy in what the
// key signs: the name algorithm, and the digest of the hierarchy's handle and
// the key's name (TPM 2.0 Part 1, "Qualified Name").
func QualifiedName(hierarchy tpm2.TPMHandle, name []byte) []byte {
	if len(name) < 2 {
		return nil
	}
	b, ok := tpm.BankOf(tpm2.TPMAlgID(binary.BigEndian.Uint16(name)))
	if !ok {
		return nil
	}
	return append(bytes.Clone(name[:2]), b.Extended(binary.BigEndian.AppendUint32(nil, uint32(hierarchy)), name)...)
}

// isPrimary says whether signer is what a TPM would call the key with name,
// were it a primary key. It only helps to say what is wrong with a key that
// failed activation: a TPM's quote that was signed again, by a key in software,
// still names the TPM's key. Who makes up the whole quote gives the right name,
// and looks like one who shows another TPM's key: both cannot answer.
func isPrimary(name, signer []byte) bool {
	for _, h := range []tpm2.TPMHandle{tpm2.TPMRHEndorsement, tpm2.TPMRHOwner, tpm2.TPMRHPlatform, tpm2.TPMRHNull} {
		if bytes.Equal(QualifiedName(h, name), signer) {
			return true
		}
	}
	return false
}

// marshalKey is x509.MarshalPKIXPublicKey, which takes a tenth of the time of
// judging a TPM never seen: it goes by reflection.
func marshalKey(key publicKey) ([]byte, error) {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return x509.MarshalPKIXPublicKey(key)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 64+len(k.N.Bits())*bits.UintSize/8))
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { // SubjectPublicKeyInfo: RFC 5280, 4.1
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { // RFC 3279, 2.3.1
			b.AddASN1ObjectIdentifier(oidRSA)
			b.AddASN1NULL()
		})
		b.AddASN1(tag.BIT_STRING, func(b *cryptobyte.Builder) {
			b.AddUint8(0) // bits of the last octet that are not in use
			b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1BigInt(k.N)
				b.AddASN1Int64(int64(k.E))
			})
		})
	})
	return b.Bytes()
}

var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// ParseKey reads a key as evidence carries it.
func ParseKey(text string) (publicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: ak_public: %w", attest.ErrMalformed, err)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: ak_public: %w", attest.ErrMalformed, err)
	}
	key, err := strong(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: ak_public: %w", attest.ErrMalformed, err)
	}
	return key, nil
}

// parse reads one TPM structure and refuses any other spelling of it, bytes
// after it included.
func parse[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](data []byte) (*T, error) {
	v, err := tpm2.Unmarshal[T, P](data)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(tpm2.Marshal(P(v)), data) {
		return nil, errors.New("not in the TPM's own encoding")
	}
	return v, nil
}
