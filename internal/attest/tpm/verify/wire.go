package verify

import (
	"encoding/binary"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// A wire is bytes that a TPM marshalled, big-endian. What is read to its end
// has one spelling. go-tpm reads the same by reflection, which takes longer
// than to verify the signature.
type wire struct {
	data []byte
	bad  bool // more was read than there is
}

var errWire = errors.New("not in the TPM's own encoding")

func (w *wire) bytes(n int) []byte {
	if w.bad || n > len(w.data) {
		w.bad = true
		return nil
	}
	out := w.data[:n:n]
	w.data = w.data[n:]
	return out
}

func (w *wire) uint16() uint16 {
	if b := w.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (w *wire) uint32() uint32 {
	if b := w.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// sized is the content of a TPM2B.
func (w *wire) sized() []byte { return w.bytes(int(w.uint16())) }

func (w *wire) end() error {
	if w.bad || len(w.data) > 0 {
		return errWire
	}
	return nil
}

// A statement is a TPMS_ATTEST of a quote (TPM 2.0 Part 2, 10.12.12).
type statement struct {
	magic         tpm2.TPMGenerated
	kind          tpm2.TPMST
	signer, nonce []byte
	selections    []tpm2.TPMSPCRSelection
	digest        []byte
}

// maxSelections is more than a TPM has banks.
const maxSelections = 16

func readStatement(message []byte) (*statement, error) {
	w := &wire{data: message}
	s := &statement{magic: tpm2.TPMGenerated(w.uint32()), kind: tpm2.TPMST(w.uint16())}
	s.signer, s.nonce = w.sized(), w.sized()
	w.bytes(8 + 4 + 4 + 1 + 8) // clock, resets, restarts, safe; version of the firmware
	if s.magic != tpm2.TPMGeneratedValue || s.kind != tpm2.TPMSTAttestQuote || w.bad {
		return s, nil // another statement has other members from here on
	}
	n := w.uint32()
	if n > maxSelections {
		return nil, errWire
	}
	for range n {
		hash := tpm2.TPMIAlgHash(w.uint16())
		size := w.bytes(1)
		if size == nil {
			return nil, errWire
		}
		s.selections = append(s.selections, tpm2.TPMSPCRSelection{Hash: hash, PCRSelect: w.bytes(int(size[0]))})
	}
	s.digest = w.sized()
	return s, w.end()
}

// A signature is a TPMT_SIGNATURE by a key that may attest (Part 2, 11.3.4).
type signature struct {
	algorithm tpm2.TPMAlgID
	hash      tpm2.TPMIAlgHash
	rsa, r, s []byte
}

func readSignature(data []byte) (*signature, error) {
	w := &wire{data: data}
	s := &signature{algorithm: tpm2.TPMAlgID(w.uint16()), hash: tpm2.TPMIAlgHash(w.uint16())}
	switch s.algorithm {
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		s.rsa = w.sized()
	case tpm2.TPMAlgECDSA:
		s.r, s.s = w.sized(), w.sized()
	default:
		return nil, errors.New("its algorithm is not RSASSA, RSAPSS or ECDSA")
	}
	return s, w.end()
}
