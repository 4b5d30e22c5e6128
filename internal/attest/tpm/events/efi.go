package events

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// A guid is in EFI's mixed byte order (UEFI 2.10, appendix A).
type guid [16]byte

func (g guid) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

func (r *reader) guid() (g guid) {
	copy(g[:], r.bytes(16))
	return g
}

// A Variable is a UEFI_VARIABLE_DATA (profile, 10.2.6).
type Variable struct {
	Vendor guid
	Name   string
	Data   []byte
}

var errVariable = errors.New("not a variable")

// ReadVariable reads one. It may have bytes after it: shims of old wrote one.
func ReadVariable(data []byte) (v Variable, rest []byte, err error) {
	r := &reader{data: data}
	v.Vendor = r.guid()
	name, size := r.uint64(), r.uint64()
	if r.err != nil || name > uint64(len(r.data))/2 {
		return v, nil, errVariable
	}
	v.Name = UTF16(r.bytes(2 * name))
	v.Data = r.bytes(size)
	if r.err != nil {
		return v, nil, errVariable
	}
	return v, r.data, nil
}

// UTF16 is text as firmware writes it, without zeros.
func UTF16(data []byte) string {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) >= 2; data = data[2:] {
		if u := binary.LittleEndian.Uint16(data); u != 0 {
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}

// FilePath joins the file path nodes of a UEFI_IMAGE_LOAD_EVENT's device path
// (profile, 10.2.3; UEFI 2.10, 10.3.5.4). It is "" for what is not from a file.
func FilePath(data []byte) string {
	const header = 32
	var parts strings.Builder
	for data = data[min(header, len(data)):]; len(data) >= 4; {
		size := int(binary.LittleEndian.Uint16(data[2:]))
		if size < 4 || size > len(data) {
			break
		}
		if data[0] == 4 && data[1] == 4 {
			parts.WriteString(UTF16(data[4:size]))
		}
		data = data[size:]
	}
	return parts.String()
}

// A Certificate is told by what others know it by.
type Certificate struct {
	Subject string `json:"subject"`
	SHA256  string `json:"sha256"` // of its DER
}

func certificate(der []byte) (Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, err
	}
	sum := sha256.Sum256(der)
	return Certificate{cert.Subject.String(), hex.EncodeToString(sum[:])}, nil
}

// Types of signatures (UEFI 2.10, 32.4.1).
var (
	x509Signatures   = guid{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	sha256Signatures = guid{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}
)

// Keys are what a Secure Boot variable holds.
type Keys struct {
	Certificates []Certificate `json:"certificates"`
	Hashes       int           `json:"hashes"` // of programs, not told singly: dbx has hundreds
	Other        int           `json:"other,omitempty"`
	Digest       string        `json:"digest"` // SHA-256 of the variable's value
}

// readKeys reads a list of EFI_SIGNATURE_LIST.
func readKeys(data []byte) (Keys, error) {
	sum := sha256.Sum256(data)
	keys := Keys{Certificates: []Certificate{}, Digest: hex.EncodeToString(sum[:])}
	for r := (&reader{data: data}); len(r.data) > 0; {
		kind := r.guid()
		list, header, size := r.uint32(), r.uint32(), r.uint32()
		if r.err != nil || list < 28 || size <= 16 || header > list-28 {
			return keys, errors.New("not a signature list")
		}
		r.bytes(uint64(header))
		entries := &reader{data: r.bytes(uint64(list - 28 - header))}
		if r.err != nil || len(entries.data)%int(size) != 0 {
			return keys, errors.New("a signature list is cut short")
		}
		for len(entries.data) > 0 {
			if err := keys.add(kind, entries.bytes(uint64(size))[16:]); err != nil {
				return keys, err
			}
		}
	}
	return keys, nil
}

func (k *Keys) add(kind guid, signature []byte) error {
	switch kind {
	case x509Signatures:
		cert, err := certificate(signature)
		if err != nil {
			return err
		}
		k.Certificates = append(k.Certificates, cert)
	case sha256Signatures:
		k.Hashes++
	default:
		k.Other++
	}
	return nil
}

func (k Keys) empty() bool { return len(k.Certificates)+k.Hashes+k.Other == 0 }
