// Package tdx knows the form of Intel TDX evidence: the quote, and the JSON
// that Trustee reads.
//
// It judges nothing beyond the form; package verify does.
package tdx

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"holdfast/internal/attest"
)

// maxQuote bounds what is read; a quote has about 5000 bytes.
const maxQuote = 64 << 10

// Sizes of a quote's parts: Intel TDX DCAP Quoting Library API, appendix A.3
// (version 4) and A.4 (version 5).
const (
	headerSize   = 48
	bodySize     = 584 // TD report of TDX 1.0
	longBodySize = 648 // of TDX 1.5
	reportSize   = 384 // SGX report of the quoting enclave
	pairSize     = 64  // two numbers of 32 bytes: a P-256 signature or key
)

// A Quote is a quote taken apart. All its numbers are little-endian.
type Quote struct {
	Version   uint16
	Type      uint16 // of the body, in version 5: 2 is TDX 1.0, 3 is TDX 1.5
	Header    []byte
	Body      Body
	Signed    []byte // what Signature is over
	Signature []byte // by Key, r and s
	Key       []byte // the attestation key's x and y

	QE Enclave // vouches for Key

	size []byte // of the body, as version 5 has it
}

// An Enclave is the quoting enclave's report and who vouches for it.
type Enclave struct {
	Report    []byte
	Signature []byte // by the PCK certificate's key
	Extra     []byte // authentication data, which the report covers with Key
	Chain     []byte // PCK certificate and its issuers, PEM
}

// A Body is a TD report. TDX 1.5 appends to that of 1.0.
type Body []byte

// The parts of a body.
func (b Body) TCBSVN() []byte         { return b[0:16] }
func (b Body) Attributes() []byte     { return b[120:128] }
func (b Body) SEAMSigner() []byte     { return b[64:112] }
func (b Body) SEAMAttributes() []byte { return b[112:120] }
func (b Body) ConfigID() []byte       { return b[184:232] }
func (b Body) RTMR(n int) []byte      { return b[328+48*n : 376+48*n] }
func (b Body) ReportData() []byte     { return b[520:584] }

// Hex is a part by its offset.
func (b Body) Hex(at, size int) string { return hex.EncodeToString(b[at : at+size]) }

// Long says that the body has the fields of TDX 1.5.
func (b Body) Long() bool { return len(b) == longBodySize }

// Size is the body's size as a version 5 quote states it.
func (q *Quote) Size() []byte { return q.size }

// reader takes bytes from the front and remembers that there were too few.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short = true
		return make([]byte, min(max(n, 0), maxQuote))
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) size() int   { return int(min(binary.LittleEndian.Uint32(r.take(4)), maxQuote+1)) }

// ParseQuote reads a quote of version 4 or 5.
func ParseQuote(raw []byte) (*Quote, error) {
	if len(raw) > maxQuote {
		return nil, fmt.Errorf("%w: TDX quote of %d bytes, at most %d are read", attest.ErrMalformed, len(raw), maxQuote)
	}
	r := &reader{rest: raw}
	q := &Quote{Header: r.take(headerSize)}
	if r.short {
		return nil, fmt.Errorf("%w: TDX quote is cut off", attest.ErrMalformed)
	}
	if err := q.readHeader(); err != nil {
		return nil, err
	}
	if err := q.readBody(r); err != nil {
		return nil, err
	}
	q.Signed = raw[:len(raw)-len(r.rest)]
	sized := &reader{rest: r.take(r.size())}
	if err := q.readSignature(sized); err != nil {
		return nil, err
	}
	if r.short || sized.short {
		return nil, fmt.Errorf("%w: TDX quote is cut off", attest.ErrMalformed)
	}
	return q, nil
}

// intelQE is the vendor of the quoting enclave.
const intelQE = "939a7233f79c4ca9940a0db3957f0607"

func (q *Quote) readHeader() error {
	q.Version = binary.LittleEndian.Uint16(q.Header)
	if q.Version != 4 && q.Version != 5 {
		return fmt.Errorf("%w: quote of version %d, expected 4 or 5", attest.ErrMalformed, q.Version)
	}
	if key := binary.LittleEndian.Uint16(q.Header[2:]); key != 2 {
		return fmt.Errorf("%w: attestation key of type %d, expected 2 (ECDSA P-256)", attest.ErrMalformed, key)
	}
	if tee := binary.LittleEndian.Uint32(q.Header[4:]); tee != 0x81 {
		return fmt.Errorf("%w: quote is of a TEE of type %#x, expected 0x81 (TDX)", attest.ErrMalformed, tee)
	}
	if vendor := hex.EncodeToString(q.Header[12:28]); vendor != intelQE {
		return fmt.Errorf("%w: quoting enclave is of vendor %s, expected Intel's %s", attest.ErrMalformed, vendor, intelQE)
	}
	return nil
}

func (q *Quote) readBody(r *reader) error {
	size := bodySize
	if q.Version == 5 {
		q.Type = r.u16()
		q.size = r.take(4)
		switch {
		case q.Type == 2:
		case q.Type == 3:
			size = longBodySize
		default:
			return fmt.Errorf("%w: body of type %d, expected 2 or 3 (TDX 1.0 or 1.5)", attest.ErrMalformed, q.Type)
		}
		if got := binary.LittleEndian.Uint32(q.size); got != uint32(size) {
			return fmt.Errorf("%w: body of %d bytes, expected %d", attest.ErrMalformed, got, size)
		}
	}
	q.Body = r.take(size)
	if r.short {
		return fmt.Errorf("%w: TDX quote is cut off", attest.ErrMalformed)
	}
	return nil
}

// The types of certification data: the enclave's report, and in it the chain.
const (
	reportData = 6
	chainData  = 5
)

func (q *Quote) readSignature(r *reader) error {
	q.Signature, q.Key = r.take(pairSize), r.take(pairSize)
	if kind := r.u16(); kind != reportData && !r.short {
		return fmt.Errorf("%w: certification data of type %d, expected %d (report of the quoting enclave)", attest.ErrMalformed, kind, reportData)
	}
	inner := &reader{rest: r.take(r.size())}
	q.QE.Report, q.QE.Signature = inner.take(reportSize), inner.take(pairSize)
	q.QE.Extra = inner.take(int(inner.u16()))
	if kind := inner.u16(); kind != chainData && !inner.short {
		return fmt.Errorf("%w: certification data of type %d, expected %d (PCK certificate chain)", attest.ErrMalformed, kind, chainData)
	}
	q.QE.Chain = inner.take(inner.size())
	r.short = r.short || inner.short
	return nil
}
