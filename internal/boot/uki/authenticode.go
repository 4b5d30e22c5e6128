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
	"io"
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
	h := sha256.New()
	for _, part := range p.hashed() {
		h.Write(part)
	}
	return [32]byte(h.Sum(nil)), nil
}

// hashed lists what of an image its hash covers.
func (p *pe) hashed() [][]byte {
	_, size := p.certificates()
	headers := int(p.u32(atHeadersSize))
	parts := [][]byte{
		p.image[:p.at+atChecksum],
		p.image[p.at+atChecksum+4 : p.at+atCertificates],
		p.image[p.at+atCertificates+8 : headers],
	}
	sorted := slices.Clone(p.sections)
	slices.SortStableFunc(sorted, func(a, b peSection) int { return cmp.Compare(a.file, b.file) })
	sum := uint64(headers)
	for _, s := range sorted {
		if s.raw > 0 {
			parts = append(parts, p.image[s.file:s.file+s.raw])
			sum += uint64(s.raw)
		}
	}
	if end := uint64(len(p.image)) - uint64(size); end > sum {
		parts = append(parts, p.image[sum:end])
	}
	return parts
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
	p, err := parse(image)
	if err != nil {
		return err
	}
	signatures, err := p.signatures()
	if err != nil {
		return err
	}
	if len(signatures) == 0 {
		return errors.New("PE image is not signed")
	}
	for _, s := range signatures {
		if p.signedBy(s, cert) {
			return nil
		}
	}
	return fmt.Errorf("PE image has no valid signature by %s", cert.Subject)
}

// signatures cuts the certificate table into its PKCS #7 messages. The
// library's own reader of images panics on malformed ones.
func (p *pe) signatures() (list [][]byte, err error) {
	at, size := p.certificates()
	if size == 0 {
		return nil, nil // and at may be anything
	}
	for table := p.image[at:][:size]; len(table) > 0; {
		if len(table) < certificateHeader {
			return nil, errors.New("PE image: its signatures are cut off")
		}
		length := int(le.Uint32(table))
		if length <= certificateHeader || length > len(table) || le.Uint16(table[4:]) != 0x0200 || le.Uint16(table[6:]) != 2 {
			return nil, fmt.Errorf("PE image: signature of %d bytes, or of an unknown kind", length)
		}
		list = append(list, table[certificateHeader:length])
		table = table[min(align(length, 8), len(table)):]
	}
	return list, nil
}

func (p *pe) signedBy(signature []byte, cert *x509.Certificate) bool {
	signed, err := authenticode.ParseAuthenticode(signature)
	if err != nil {
		return false
	}
	var parts []io.Reader
	for _, part := range p.hashed() {
		parts = append(parts, bytes.NewReader(part))
	}
	ok, err := signed.Verify(cert, io.MultiReader(parts...))
	return ok && err == nil
}
