package efivar

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/boot/guid"
)

// Vendors of the variables that Secure Boot consists of.
var (
	Global   = guid.Must("8be4df61-93ca-11d2-aa0d-00e098032b8c") // PK, KEK, SecureBoot
	Database = guid.Must("d719b2cb-3d3a-4596-a3bc-dad00e67656f") // db, dbx
)

var certX509 = guid.Must("a5c059a1-94e4-4aa7-87b5-ab155c2bf072").EFI()

// authenticated is NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS |
// TIME_BASED_AUTHENTICATED_WRITE_ACCESS.
const authenticated = 0x27

// Keys are what Enroll puts into the store.
type Keys struct {
	Owner       guid.GUID // of every signature
	PK, KEK, DB *x509.Certificate
	Time        time.Time // of the variables; zero is allowed
}

// Variables are the keys in the form that firmware keeps and measures.
func (k Keys) Variables() []Variable {
	v := func(name string, vendor guid.GUID, cert *x509.Certificate) Variable {
		return Variable{Name: name, Vendor: vendor, Attributes: authenticated, Time: k.Time,
			Data: signatureList(k.Owner, cert)}
	}
	return []Variable{v("PK", Global, k.PK), v("KEK", Global, k.KEK), v("db", Database, k.DB)}
}

// SignatureData is an EFI_SIGNATURE_DATA: UEFI 2.10, section 32.4.1.
func SignatureData(owner guid.GUID, cert *x509.Certificate) []byte {
	id := owner.EFI()
	return append(id[:], cert.Raw...)
}

// erased is a byte of flash that was not written yet: firmware writes variables
// into nothing else.
var erased = []byte{0xff}

// signatureList is an EFI_SIGNATURE_LIST of one certificate.
func signatureList(owner guid.GUID, cert *x509.Certificate) []byte {
	const header = 16 + 3*4
	data := SignatureData(owner, cert)
	b := bytes.Clone(certX509[:])
	b = le.AppendUint32(b, uint32(header+len(data)))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// Enroll returns a copy of a volume without keys that enforces k. Firmware
// derives SetupMode, SecureBoot and SecureBootEnable from it at the next boot.
func Enroll(volume []byte, k Keys) ([]byte, error) {
	if k.PK == nil || k.KEK == nil || k.DB == nil {
		return nil, errors.New("enroll Secure Boot keys: PK, KEK and db are all needed")
	}
	have, err := Read(volume)
	if err != nil {
		return nil, fmt.Errorf("enroll Secure Boot keys: %w", err)
	}
	for _, v := range have {
		if v.Vendor == Global && v.Name == "PK" {
			return nil, errors.New("enroll Secure Boot keys: the volume has a PK already")
		}
	}
	enrolled, err := Append(volume, k.Variables()...)
	if err != nil {
		return nil, fmt.Errorf("enroll Secure Boot keys: %w", err)
	}
	return enrolled, nil
}

// Append returns a copy of a volume with more variables behind those that it
// has. Names that it has already are not looked for.
func Append(volume []byte, variables ...Variable) ([]byte, error) {
	_, at, err := read(volume)
	if err != nil {
		return nil, err
	}
	_, end, _ := locate(volume)
	if at = min(at, end); bytes.Count(volume[at:end], erased) != end-at {
		return nil, errors.New("the volume has something behind its variables")
	}
	volume = bytes.Clone(volume)
	for _, v := range variables {
		b := v.encode()
		if at+len(b) > end {
			return nil, fmt.Errorf("no room for %s", v.Name)
		}
		copy(volume[at:], b)
		at = (at + len(b) + 3) &^ 3
	}
	return volume, nil
}
