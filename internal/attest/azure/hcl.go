package azure

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
)

// The parts of an HCL report (Azure documentation, "Guest attestation for
// confidential VMs"; az-cvm-vtpm 0.8.1 reads the same): a header, the report of
// the hardware in an area of the size of SNP's, a description of the runtime
// data, and that data.
const (
	hclHeader      = 32
	hclDescription = 20
	hclData        = hclHeader + snp.ReportSize + hclDescription
	maxHCL         = 64 << 10

	kindSNP = 2
	kindTDX = 4
	sha256A = 1 // the hash algorithm that is known
)

// A Report is the paravisor's statement about the vTPM that it runs: its
// runtime data hold the vTPM's keys, and the hardware's report the digest of
// these.
type Report struct {
	Hardware []byte // an SNP report, or a TD report with zeros after it
	Runtime  []byte // JSON
	kind     uint32
	data     runtimeData
}

type runtimeData struct {
	Keys []struct {
		ID   string `json:"kid"`
		Type string `json:"kty"`
		E    string `json:"e"`
		N    string `json:"n"`
	} `json:"keys"`
	UserData string `json:"user-data"`
}

// ParseReport reads an HCL report of one kind of hardware.
func ParseReport(raw []byte, kind uint32) (*Report, error) {
	if len(raw) < hclData || len(raw) > maxHCL || !bytes.HasPrefix(raw, []byte("HCLA")) {
		return nil, fmt.Errorf("%w: HCL report of %d bytes does not begin as one", attest.ErrMalformed, len(raw))
	}
	described := raw[hclHeader+snp.ReportSize:]
	r := &Report{Hardware: raw[hclHeader : hclHeader+snp.ReportSize], kind: binary.LittleEndian.Uint32(described[8:])}
	if r.kind != kind {
		return nil, fmt.Errorf("%w: HCL report is of hardware of kind %d, expected %d", attest.ErrMalformed, r.kind, kind)
	}
	if hash := binary.LittleEndian.Uint32(described[12:]); hash != sha256A {
		return nil, fmt.Errorf("%w: HCL report names hash %d, expected %d (SHA-256)", attest.ErrMalformed, hash, sha256A)
	}
	size := binary.LittleEndian.Uint32(described[16:])
	if uint64(size) > uint64(len(raw)-hclData) {
		return nil, fmt.Errorf("%w: HCL report is cut off", attest.ErrMalformed)
	}
	r.Runtime = raw[hclData : hclData+int(size)]
	if err := json.Unmarshal(r.Runtime, &r.data); err != nil {
		return nil, fmt.Errorf("%w: runtime data of the HCL report: %w", attest.ErrMalformed, err)
	}
	return r, nil
}

// boundTo checks that the hardware's report data begin with the digest of the
// runtime data.
func (r *Report) boundTo(reportData []byte) error {
	if sum := sha256.Sum256(r.Runtime); !bytes.Equal(reportData[:sha256.Size], sum[:]) {
		return fmt.Errorf("%w: its report data are %x, the runtime data's digest is %x", attest.ErrBinding, reportData[:sha256.Size], sum)
	}
	return nil
}

// attestationKey is the key that signs the vTPM's quotes.
func (r *Report) attestationKey() (*rsa.PublicKey, error) {
	for _, k := range r.data.Keys {
		if k.ID != "HCLAkPub" || k.Type != "RSA" {
			continue
		}
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		if err != nil {
			return nil, fmt.Errorf("%w: HCLAkPub: %w", attest.ErrMalformed, err)
		}
		e, err := base64.RawURLEncoding.DecodeString(k.E)
		if err != nil || len(e) == 0 || len(e) > 4 {
			return nil, fmt.Errorf("%w: exponent of HCLAkPub is %.20q", attest.ErrMalformed, k.E)
		}
		if bits := new(big.Int).SetBytes(n).BitLen(); bits < 2048 || bits > 4096 {
			return nil, fmt.Errorf("%w: HCLAkPub has %d bits, expected 2048 to 4096", attest.ErrKeyAttributes, bits)
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
	}
	return nil, fmt.Errorf("%w: the HCL report has no RSA key HCLAkPub", attest.ErrMalformed)
}

// isFor checks user-data, which machines set since version 2 of the evidence.
func (r *Report) isFor(digest []byte) error {
	data, err := hex.DecodeString(r.data.UserData)
	if err != nil || len(data) < len(digest) || !bytes.Equal(data[:len(digest)], digest) {
		return fmt.Errorf("%w (user-data of the HCL report)", attest.ErrNonce)
	}
	return nil
}
