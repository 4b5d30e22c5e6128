package hsm

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Protocol is the version that both sides must speak. It changes with any
// change of the messages below: docs/formats/pkcs11-helper.md.
const Protocol = 1

// MaxMessage bounds a message in bytes.
const MaxMessage = 64 << 10

// A Hello is the first message of the helper.
type Hello struct {
	Protocol int    `json:"protocol"`
	Module   string `json:"module,omitempty"` // what the vendor calls the library
	Token    string `json:"token,omitempty"`  // label
	Error    string `json:"error,omitempty"`  // why there is nothing to talk to
	Code     Code   `json:"code,omitempty"`
}

// An Op is what a Request asks for.
type Op string

// The operations.
const (
	OpList     Op = "list"     // all keys, or those called Key
	OpGenerate Op = "generate" // Kind
	OpPublic   Op = "public"   // PKIX DER
	OpEncrypt  Op = "encrypt"  // AES-GCM of Data with AAD: nonce, ciphertext, tag
	OpDecrypt  Op = "decrypt"  // the reverse
	OpSign     Op = "sign"     // Data is a digest by Hash
	OpOAEP     Op = "oaep"     // RSA-OAEP of Data by Hash, undone
	OpECDH     Op = "ecdh"     // Data is the other's uncompressed point
)

// A Request names a key by its label. Binary fields are base64 in JSON.
type Request struct {
	Number uint64 `json:"number"`
	Op     Op     `json:"op"`
	Key    string `json:"key,omitempty"`
	ID     []byte `json:"id,omitempty"` // CKA_ID; with generate
	Kind   Kind   `json:"kind,omitempty"`
	Hash   string `json:"hash,omitempty"` // sha1, sha256, sha384 or sha512
	Data   []byte `json:"data,omitempty"`
	AAD    []byte `json:"aad,omitempty"`
}

// A Response answers the request of its number; they may come in any order.
type Response struct {
	Number uint64 `json:"number"`
	Data   []byte `json:"data,omitempty"`
	Keys   []Info `json:"keys,omitempty"`
	Error  string `json:"error,omitempty"`
	Code   Code   `json:"code,omitempty"`
}

// A Kind of key, as it is generated: none can ever leave the HSM.
type Kind string

// The kinds.
const (
	AES256     Kind = "aes256"      // encrypts and decrypts by GCM
	P256       Kind = "p256"        // signs
	P256Derive Kind = "p256-derive" // agrees on secrets
	RSA3072    Kind = "rsa3072"     // signs
	RSADecrypt Kind = "rsa3072-decrypt"
)

// An Info is what an HSM says of a key.
type Info struct {
	Label            string `json:"label"`
	ID               []byte `json:"id,omitempty"`
	Class            string `json:"class"` // secret or private
	Type             string `json:"type"`  // AES, EC, RSA or a number
	Sensitive        bool   `json:"sensitive"`
	Extractable      bool   `json:"extractable"`
	NeverExtractable bool   `json:"never_extractable"` // and made inside
}

// A Code tells errors apart.
type Code string

// The codes, with what they are to errors.Is.
const (
	CodeAbsent      Code = "absent"      // ErrAbsent
	CodeExists      Code = "exists"      // ErrExist
	CodeRefused     Code = "refused"     // ErrRefused
	CodeUnsupported Code = "unsupported" // ErrUnsupported
	CodePIN         Code = "pin"         // ErrPIN
)

// WriteMessage writes v behind its length, four bytes, big endian.
func WriteMessage(w io.Writer, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(raw) > MaxMessage {
		return fmt.Errorf("a message of %d bytes, expected at most %d", len(raw), MaxMessage)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...))
	return err
}

// ReadMessage reads what WriteMessage wrote. Its error is io.EOF only between
// two messages.
func ReadMessage(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > MaxMessage {
		return fmt.Errorf("a message of %d bytes, expected 1 to %d", n, MaxMessage)
	}
	raw := make([]byte, n)
	defer clear(raw)
	if _, err := io.ReadFull(r, raw); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return json.Unmarshal(raw, v)
}
