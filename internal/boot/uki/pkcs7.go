package uki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// The libraries at hand stamp the current time into what they sign, and a
// signature with a time is another one each time. So the few lines of
// PKCS#7 (RFC 2315) that Authenticode needs are written out here.

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImageData   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

func contextConstructed(n uint8) tag.Tag { return tag.Tag(n).ContextSpecific().Constructed() }

// signedData is the PKCS#7 of Authenticode over an image's hash.
func signedData(hash [32]byte, cert *x509.Certificate, key crypto.Signer) ([]byte, error) {
	content, err := build(func(b *cryptobyte.Builder) { addIndirectData(b, hash) })
	if err != nil {
		return nil, err
	}
	// Attributes are signed as a SET and stored under an implicit tag.
	attributes, err := build(func(b *cryptobyte.Builder) { addAttributes(b, sha256.Sum256(content)) })
	if err != nil {
		return nil, err
	}
	set, err := build(func(b *cryptobyte.Builder) {
		b.AddASN1(tag.SET, func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
	})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(set)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256) // PKCS #1 v1.5: no randomness enters
	if err != nil {
		return nil, err
	}
	return build(func(b *cryptobyte.Builder) {
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSignedData)
			b.AddASN1(contextConstructed(0), func(b *cryptobyte.Builder) {
				addSignedData(b, content, attributes, signature, cert)
			})
		})
	})
}

func build(add func(*cryptobyte.Builder)) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	add(b)
	return b.Bytes()
}

func sequence(b *cryptobyte.Builder, f cryptobyte.BuilderContinuation) { b.AddASN1(tag.SEQUENCE, f) }

func addAlgorithm(b *cryptobyte.Builder, oid asn1.ObjectIdentifier) {
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1NULL()
	})
}

// addIndirectData adds what is inside SpcIndirectDataContent; its digest is
// taken without the SEQUENCE around it. The link is the spec's "<<<Obsolete>>>".
func addIndirectData(b *cryptobyte.Builder, hash [32]byte) {
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidPEImageData)
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddASN1BitString(nil)
			b.AddASN1(contextConstructed(0), func(b *cryptobyte.Builder) {
				b.AddASN1(contextConstructed(2), func(b *cryptobyte.Builder) {
					b.AddASN1(tag.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) {
						for _, c := range "<<<Obsolete>>>" {
							b.AddUint16(uint16(c))
						}
					})
				})
			})
		})
	})
	sequence(b, func(b *cryptobyte.Builder) {
		addAlgorithm(b, oidSHA256)
		b.AddASN1OctetString(hash[:])
	})
}

// addAttributes adds the two attributes that a signature must have, in DER's
// order of a SET.
func addAttributes(b *cryptobyte.Builder, digest [32]byte) {
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidContentType)
		b.AddASN1(tag.SET, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidIndirectData) })
	})
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidMessageDigest)
		b.AddASN1(tag.SET, func(b *cryptobyte.Builder) { b.AddASN1OctetString(digest[:]) })
	})
}

func addSignedData(b *cryptobyte.Builder, content, attributes, signature []byte, cert *x509.Certificate) {
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(tag.SET, func(b *cryptobyte.Builder) { addAlgorithm(b, oidSHA256) })
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidIndirectData)
			b.AddASN1(contextConstructed(0), func(b *cryptobyte.Builder) {
				sequence(b, func(b *cryptobyte.Builder) { b.AddBytes(content) })
			})
		})
		b.AddASN1(contextConstructed(0), func(b *cryptobyte.Builder) { b.AddBytes(cert.Raw) })
		b.AddASN1(tag.SET, func(b *cryptobyte.Builder) {
			sequence(b, func(b *cryptobyte.Builder) { addSigner(b, attributes, signature, cert) })
		})
	})
}

func addSigner(b *cryptobyte.Builder, attributes, signature []byte, cert *x509.Certificate) {
	b.AddASN1Int64(1)
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddBytes(cert.RawIssuer)
		b.AddASN1BigInt(cert.SerialNumber)
	})
	addAlgorithm(b, oidSHA256)
	b.AddASN1(contextConstructed(0), func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
	addAlgorithm(b, oidRSA)
	b.AddASN1OctetString(signature)
}
