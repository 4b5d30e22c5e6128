// Package uki assembles, signs and reads unified kernel images.
//
// Equal stub, sections and key give equal bytes: no time enters the image or
// its signature.
package uki

import (
	"crypto"
	"crypto/x509"
	"errors"
)

// Names of sections that systemd-stub 252 knows.
const (
	OSRelease = ".osrel"
	Cmdline   = ".cmdline"
	Linux     = ".linux"
	Initrd    = ".initrd"
)

// A Section of an image. Data has its unpadded size.
type Section struct {
	Name string
	Data []byte
}

// Build appends sections to systemd-stub.
func Build(stub []byte, sections []Section) ([]byte, error) { return nil, errors.New("not built") }

// Sections lists all sections of an image, the stub's too.
func Sections(image []byte) ([]Section, error) { return nil, errors.New("not built") }

// Hash is the Authenticode SHA-256 of an image, signed or not.
func Hash(image []byte) ([32]byte, error) { return [32]byte{}, errors.New("not built") }

// Sign returns the image with a signature that carries cert. The key must be RSA.
func Sign(image []byte, cert *x509.Certificate, key crypto.Signer) ([]byte, error) {
	return nil, errors.New("not built")
}

// Signers returns the certificates in the image's signatures, unverified; none when unsigned.
func Signers(image []byte) ([]*x509.Certificate, error) { return nil, errors.New("not built") }
