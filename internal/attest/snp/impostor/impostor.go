// Package impostor is a maker of processors that nobody else believes: its
// root, the keys that this certifies, and reports that say what a test wants.
//
// It stands where the real thing cannot run: no machine of ours has SEV-SNP.
// What it makes has AMD's form, with ECDSA where AMD's authorities use RSA.
package impostor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"slices"
	"time"

	"holdfast/internal/attest/snp"
)

// A Maker has authorities and one chip of a line of processors.
type Maker struct {
	Product          snp.Product
	TCB              snp.TCB
	Chip             [64]byte
	Root, Chips, Own *x509.Certificate // ARK, ASK, ASVK
	VCEK, VLEK       *x509.Certificate

	from, until                           time.Time
	rootKey, chipsKey, ownKey, vcek, vlek *ecdsa.PrivateKey
}

// New makes a maker whose certificates are good from and until.
func New(product snp.Product, from, until time.Time) (*Maker, error) {
	m := &Maker{Product: product, TCB: snp.TCB{FMC: 1, Bootloader: 4, TEE: 0, SNP: 24, Microcode: 219}, from: from, until: until}
	for i := range m.Chip {
		m.Chip[i] = byte(i + 1)
	}
	for _, key := range []**ecdsa.PrivateKey{&m.rootKey, &m.chipsKey, &m.ownKey, &m.vcek, &m.vlek} {
		var err error
		if *key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			return nil, err
		}
	}
	return m, m.certify()
}

func (m *Maker) certify() error {
	var problem error
	sign := func(serial int64, name string, key *ecdsa.PrivateKey, by *x509.Certificate, byKey *ecdsa.PrivateKey, extensions []pkix.Extension) *x509.Certificate {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"Impostor"}},
			NotBefore: m.from, NotAfter: m.until, ExtraExtensions: extensions,
			IsCA: extensions == nil, BasicConstraintsValid: extensions == nil,
		}
		if extensions == nil {
			cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		}
		if by == nil {
			by = cert
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, by, key.Public(), byKey)
		if err != nil {
			problem = err
			return cert
		}
		if cert, err = x509.ParseCertificate(der); err != nil {
			problem = err
		}
		return cert
	}
	line := string(m.Product)
	m.Root = sign(1, "ARK-"+line, m.rootKey, nil, m.rootKey, nil)
	m.Chips = sign(2, "SEV-"+line, m.chipsKey, m.Root, m.rootKey, nil)
	m.Own = sign(3, "SEV-VLEK-"+line, m.ownKey, m.Root, m.rootKey, nil)
	id := m.Chip[:]
	if m.Product == snp.Turin {
		id = id[:8]
	}
	m.VCEK = sign(4, "SEV-VCEK", m.vcek, m.Chips, m.chipsKey, append(m.levels(), pkix.Extension{Id: oid(4), Value: id}))
	m.VLEK = sign(5, "SEV-VLEK", m.vlek, m.Own, m.ownKey, m.levels())
	return problem
}

func oid(last ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, last...)
}

func (m *Maker) levels() []pkix.Extension {
	levels := map[int]byte{1: m.TCB.Bootloader, 2: m.TCB.TEE, 3: m.TCB.SNP, 8: m.TCB.Microcode}
	if m.Product == snp.Turin {
		levels[9] = m.TCB.FMC
	}
	var list []pkix.Extension
	for part, value := range levels {
		der, _ := asn1.Marshal(int(value)) // an integer has a form
		list = append(list, pkix.Extension{Id: oid(3, part), Value: der})
	}
	return list
}

// Revoke lists certificates as revoked by the root.
func (m *Maker) Revoke(until time.Time, certs ...*x509.Certificate) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: m.from, NextUpdate: until}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: m.from})
	}
	return x509.CreateRevocationList(rand.Reader, list, m.Root, m.rootKey)
}

// A Claim is what a report says.
type Claim struct {
	Report, Host, Measurement []byte // report data, host data, launch digest
	Policy                    uint64 // 0 means 0x30000: SMT is allowed, nothing else
	VMPL                      uint32
	Signer                    snp.Endorsement
	Edit                      func(report []byte) // before it is signed
}

// Report signs one.
func (m *Maker) Report(c Claim) (*snp.Report, error) {
	b := make([]byte, snp.ReportSize)
	binary.LittleEndian.PutUint32(b, 3)
	if c.Policy == 0 {
		c.Policy = 0x30000
	}
	binary.LittleEndian.PutUint64(b[0x08:], c.Policy)
	binary.LittleEndian.PutUint32(b[0x30:], c.VMPL)
	b[0x34], b[0x48] = 1, byte(c.Signer)<<2
	copy(b[0x50:0x90], c.Report)
	copy(b[0x90:0xC0], c.Measurement)
	copy(b[0xC0:0xE0], c.Host)
	copy(b[0x1A0:], m.Chip[:])
	for _, at := range []int{0x38, 0x180, 0x1E0, 0x1F0} {
		m.TCB.Put(b[at:at+8], m.Product == snp.Turin)
	}
	family := map[snp.Product][2]byte{snp.Milan: {0x19, 1}, snp.Genoa: {0x19, 0x11}, snp.Turin: {0x1A, 2}}[m.Product]
	b[0x188], b[0x189] = family[0], family[1]
	if c.Edit != nil {
		c.Edit(b)
	}
	if err := m.sign(b, c.Signer); err != nil {
		return nil, err
	}
	return snp.ParseReport(b)
}

// sign writes the signature's numbers as the firmware does: little-endian.
func (m *Maker) sign(b []byte, by snp.Endorsement) error {
	key := m.vcek
	if by == snp.VLEK {
		key = m.vlek
	}
	sum := sha512.Sum384(b[:0x2A0])
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return err
	}
	for at, n := range map[int]*big.Int{0x2A0: r, 0x2E8: s} {
		number := n.FillBytes(make([]byte, 72))
		slices.Reverse(number)
		copy(b[at:], number)
	}
	return nil
}

// Evidence is a report beside the certificate of the key that signed it.
func (m *Maker) Evidence(c Claim) (json.RawMessage, error) {
	r, err := m.Report(c)
	if err != nil {
		return nil, err
	}
	cert := m.VCEK
	if c.Signer == snp.VLEK {
		cert = m.VLEK
	}
	return snp.Marshal(r, snp.Certificate{Type: snp.CertificateType(c.Signer.String()), Data: cert.Raw})
}
