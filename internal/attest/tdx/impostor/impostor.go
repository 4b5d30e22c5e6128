// Package impostor is a maker of platforms that nobody else believes: its root,
// the keys and documents that this certifies, and quotes that say what a test
// wants.
//
// It stands where the real thing cannot run: no machine of ours has Intel TDX.
package impostor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// A Maker has authorities, a platform and what it says of it.
type Maker struct {
	Root, PCKs, PCK, Signer *x509.Certificate

	from, until                             time.Time
	rootKey, pcksKey, pckKey, signerKey, ak *ecdsa.PrivateKey
}

// FMSPC is the platform's kind.
const FMSPC = "50806f000000"

// New makes a maker whose certificates are good from and until.
func New(from, until time.Time) (*Maker, error) {
	m := &Maker{from: from, until: until}
	for _, key := range []**ecdsa.PrivateKey{&m.rootKey, &m.pcksKey, &m.pckKey, &m.signerKey, &m.ak} {
		var err error
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	return m, m.certify()
}

func (m *Maker) certify() (err error) {
	if m.Root, err = m.sign(1, "Intel SGX Root CA", m.rootKey, nil, m.rootKey, nil); err != nil {
		return err
	}
	if m.PCKs, err = m.sign(2, "Intel SGX PCK Platform CA", m.pcksKey, m.Root, m.rootKey, nil); err != nil {
		return err
	}
	if m.Signer, err = m.sign(3, "Intel SGX TCB Signing", m.signerKey, m.Root, m.rootKey, []pkix.Extension{}); err != nil {
		return err
	}
	sgx, err := extension()
	if err != nil {
		return err
	}
	m.PCK, err = m.sign(4, "Intel SGX PCK Certificate", m.pckKey, m.PCKs, m.pcksKey, []pkix.Extension{{Id: oid(), Value: sgx}})
	return err
}

func (m *Maker) sign(serial int64, name string, key *ecdsa.PrivateKey, by *x509.Certificate, byKey *ecdsa.PrivateKey, extensions []pkix.Extension) (*x509.Certificate, error) {
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: m.from, NotAfter: m.until,
		ExtraExtensions: extensions, BasicConstraintsValid: true, IsCA: extensions == nil,
	}
	if extensions == nil {
		cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if by == nil {
		by = cert
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, by, key.Public(), byKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func oid(last ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, last...)
}

type attribute struct {
	ID    asn1.ObjectIdentifier
	Value any
}

// extension says that every component is at version 5 and PCE at 11.
func extension() ([]byte, error) {
	var levels []attribute
	for n := 1; n <= 16; n++ {
		levels = append(levels, attribute{oid(2, n), 5})
	}
	levels = append(levels, attribute{oid(2, 17), 11}, attribute{oid(2, 18), make([]byte, 16)})
	fmspc, err := hex.DecodeString(FMSPC)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal([]attribute{
		{oid(1), make([]byte, 16)}, {oid(2), levels}, {oid(3), make([]byte, 2)}, {oid(4), fmspc},
		{oid(5), asn1.Enumerated(1)}, {oid(6), make([]byte, 16)},
		{oid(7), []attribute{{oid(7, 1), true}, {oid(7, 2), true}, {oid(7, 3), false}}},
	})
}

// Lists are the lists of revoked certificates of both authorities.
func (m *Maker) Lists(until time.Time, revoked ...*x509.Certificate) ([][]byte, error) {
	var lists [][]byte
	for _, by := range []struct {
		cert *x509.Certificate
		key  *ecdsa.PrivateKey
	}{{m.Root, m.rootKey}, {m.PCKs, m.pcksKey}} {
		list := &x509.RevocationList{Number: big.NewInt(7), ThisUpdate: m.from, NextUpdate: until}
		for _, c := range revoked {
			if slices.Equal(c.RawIssuer, by.cert.RawSubject) {
				list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: m.from})
			}
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, by.cert, by.key)
		if err != nil {
			return nil, err
		}
		lists = append(lists, der)
	}
	return lists, nil
}

// Signers is the chain that comes beside signed documents.
func (m *Maker) Signers() []byte { return chain(m.Signer, m.Root) }

func chain(list ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range list {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// A Level is what TCB info says from these versions up.
type Level struct {
	SGX, TDX, PCE int // least version of every component
	Status        string
	Advisories    []string
}

// Documents are TCB info and the identity of the quoting enclave, signed.
func (m *Maker) Documents(until time.Time, qe string, levels ...Level) ([][]byte, error) {
	period := map[string]any{"issueDate": m.from.UTC().Format(time.RFC3339), "nextUpdate": until.UTC().Format(time.RFC3339), "tcbEvaluationDataNumber": 17}
	zero := func(n int) string { return strings.Repeat("00", n) }
	info := map[string]any{
		"id": "TDX", "version": 3, "fmspc": FMSPC, "pceId": "0000", "tcbLevels": tcbLevels(levels),
		"tdxModule": map[string]any{"mrsigner": zero(48), "attributes": zero(8), "attributesMask": strings.Repeat("FF", 8)},
	}
	enclave := map[string]any{
		"id": "TD_QE", "version": 2, "miscselect": zero(4), "miscselectMask": "FFFFFFFF", "attributes": "11" + zero(15),
		"attributesMask": "FB" + strings.Repeat("FF", 7) + zero(8), "mrsigner": strings.Repeat("DC", 32), "isvprodid": 2,
		"tcbLevels": []any{map[string]any{"tcb": map[string]any{"isvsvn": 4}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": qe}},
	}
	var out [][]byte
	for name, document := range map[string]map[string]any{"tcbInfo": info, "enclaveIdentity": enclave} {
		for key, value := range period {
			document[key] = value
		}
		body, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		signature, err := pair(m.signerKey, body)
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Appendf(nil, `{%q:%s,"signature":%q}`, name, body, hex.EncodeToString(signature)))
	}
	return out, nil
}

func tcbLevels(levels []Level) []any {
	components := func(version int) []any {
		list := make([]any, 16)
		for i := range list {
			list[i] = map[string]int{"svn": version}
		}
		return list
	}
	var out []any
	for _, l := range levels {
		tdx := components(l.TDX)
		tdx[1] = map[string]int{"svn": 0} // the module's own version: none
		out = append(out, map[string]any{
			"tcb":     map[string]any{"sgxtcbcomponents": components(l.SGX), "tdxtcbcomponents": tdx, "pcesvn": l.PCE},
			"tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": l.Status, "advisoryIDs": l.Advisories,
		})
	}
	return out
}

// A Claim is what a quote says. Its body has TDX versions 5, but no module's.
type Claim struct {
	Report, Config, MRTD []byte
	RTMRs                [4][]byte
	Attributes           uint64
	Version5             bool
	Edit                 func(body []byte) // before it is signed
	EditQE               func(report []byte)
}

// Quote signs one.
func (m *Maker) Quote(c Claim) ([]byte, error) {
	header := make([]byte, 48)
	header[0], header[2], header[4] = 4, 2, 0x81
	copy(header[12:], []byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07})
	size := 584
	if c.Version5 {
		size = 648
		header[0] = 5
		header = append(header, 3, 0, byte(size&0xff), byte(size>>8), 0, 0)
	}
	body := make([]byte, size)
	for i := range 16 {
		body[i] = 5
	}
	body[1] = 0
	binary.LittleEndian.PutUint64(body[120:], c.Attributes)
	copy(body[136:184], c.MRTD)
	copy(body[184:232], c.Config)
	for n, value := range c.RTMRs {
		copy(body[328+48*n:376+48*n], value)
	}
	copy(body[520:584], c.Report)
	if c.Edit != nil {
		c.Edit(body)
	}
	signed := append(header, body...)
	signature, err := pair(m.ak, signed)
	if err != nil {
		return nil, err
	}
	point, err := m.ak.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	enclave, err := m.enclave(point[1:], c.EditQE)
	if err != nil {
		return nil, err
	}
	data := slices.Concat(signature, point[1:], sized(6, enclave))
	return slices.Concat(signed, binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data), nil
}

func (m *Maker) enclave(key []byte, edit func([]byte)) ([]byte, error) {
	extra := []byte("extra")
	report := make([]byte, 384)
	report[48] = 0x11
	copy(report[128:160], slices.Repeat([]byte{0xDC}, 32))
	report[256], report[258] = 2, 4
	sum := sha256.Sum256(slices.Concat(key, extra))
	copy(report[320:], sum[:])
	if edit != nil {
		edit(report)
	}
	signature, err := pair(m.pckKey, report)
	certs := append(chain(m.PCK, m.PCKs, m.Root), 0)
	return slices.Concat(report, signature, []byte{byte(len(extra)), 0}, extra, sized(5, certs)), err
}

func sized(kind uint16, data []byte) []byte {
	out := binary.LittleEndian.AppendUint16(nil, kind)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(data))), data...)
}

func pair(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// Evidence is a quote and, unless it is nil, an event log.
func (m *Maker) Evidence(c Claim, log []byte) (json.RawMessage, error) {
	quote, err := m.Quote(c)
	if err != nil {
		return nil, err
	}
	evidence := map[string]any{"quote": base64.StdEncoding.EncodeToString(quote)}
	if log != nil {
		evidence["cc_eventlog"] = base64.StdEncoding.EncodeToString(log)
	}
	return json.Marshal(evidence)
}
