package uki

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/foxboron/go-uefi/authenticode"
)

// Hash is the Authenticode SHA-256 of an image, signed or not: "Calculating
// the PE Image Hash" in Microsoft's Authenticode specification, as EDK2 does it.
func Hash(image []byte) ([32]byte, error) {
	p, err := parse(image)
	if err != nil {
		return [32]byte{}, err
	}
	_, size := p.certificates()
	h := sha256.New()
	headers := int(p.u32(atHeadersSize))
	h.Write(image[:p.at+atChecksum])
	h.Write(image[p.at+atChecksum+4 : p.at+atCertificates])
	h.Write(image[p.at+atCertificates+8 : headers])
	sorted := slices.Clone(p.sections)
	slices.SortStableFunc(sorted, func(a, b peSection) int { return cmp.Compare(a.file, b.file) })
	hashed := uint64(headers)
	for _, s := range sorted {
		if s.raw == 0 {
			continue
		}
		h.Write(image[s.file : s.file+s.raw])
		hashed += uint64(s.raw)
	}
	if end := uint64(len(image)) - uint64(size); end > hashed {
		h.Write(image[hashed:end])
	}
	return [32]byte(h.Sum(nil)), nil
}

// Signed tells whether an image carries any signature.
func Signed(image []byte) bool {
	p, err := parse(image)
	if err != nil {
		return false
	}
	_, size := p.certificates()
	return size > 0
}

// certificateHeader is WIN_CERTIFICATE's: length, revision 2.0, type PKCS#7.
const certificateHeader = 8

// Sign returns the image with a signature that carries cert, which must be
// key's. The key must be RSA; the image must not be signed yet.
func Sign(image []byte, cert *x509.Certificate, key crypto.Signer) ([]byte, error) {
	public, ok := key.Public().(*rsa.PublicKey)
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("sign PE image: the key is not the certificate's RSA key")
	}
	if Signed(image) {
		return nil, errors.New("sign PE image: it is signed already")
	}
	padded := append(bytes.Clone(image), make([]byte, -len(image)&7)...)
	hash, err := Hash(padded)
	if err != nil {
		return nil, fmt.Errorf("sign PE image: %w", err)
	}
	signature, err := signedData(hash, cert, key)
	if err != nil {
		return nil, fmt.Errorf("sign PE image: %w", err)
	}
	length := certificateHeader + len(signature)
	table := make([]byte, align(length, 8))
	le.PutUint32(table, uint32(len(table)))
	le.PutUint16(table[4:], 0x0200)
	le.PutUint16(table[6:], 0x0002)
	copy(table[certificateHeader:], signature)
	p, err := parse(append(padded, table...))
	if err != nil {
		return nil, err
	}
	p.put32(atCertificates, uint32(len(padded)))
	p.put32(atCertificates+4, uint32(len(table)))
	p.putChecksum()
	return p.image, nil
}

// Unsigned returns a copy of the image without its signatures.
func Unsigned(image []byte) ([]byte, error) {
	p, err := parse(image)
	if err != nil {
		return nil, err
	}
	at, size := p.certificates()
	if size == 0 {
		return bytes.Clone(image), nil
	}
	bare := &pe{image: bytes.Clone(image[:at]), at: p.at}
	bare.put32(atCertificates, 0)
	bare.put32(atCertificates+4, 0)
	bare.putChecksum()
	return bare.image, nil
}

// Verify checks that one of the image's signatures was made with cert's key
// and covers the image.
func Verify(image []byte, cert *x509.Certificate) error {
	if !Signed(image) {
		return errors.New("PE image is not signed")
	}
	signed, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("PE image: %w", err)
	}
	if ok, err := signed.Verify(cert); err != nil || !ok {
		return fmt.Errorf("PE image has no valid signature by %s", cert.Subject)
	}
	return nil
}
