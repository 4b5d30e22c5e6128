package wiring

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"holdfast/internal/image"
	"holdfast/internal/image/provenance"
	"holdfast/internal/image/sbom"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// A Stated is a statement that was found beside an image.
type Stated struct {
	Type      string         `json:"type"`                // of the predicate
	SignedBy  string         `json:"signed_by,omitempty"` // key id; empty when nobody did
	Certified bool           `json:"certified"`           // by this installation's root
	Statement sign.Statement `json:"statement"`
}

// A StatementError says that what is stated of an image cannot be true.
type StatementError struct{ Image, Reason string }

func (e *StatementError) Error() string {
	return fmt.Sprintf("what is stated of %s does not hold: %s", e.Image, e.Reason)
}

// ErrNothingStated says that an image has neither provenance nor bill of materials.
var ErrNothingStated = errors.New("nothing is stated of it")

// A subject is an image that statements are about.
type subject struct {
	name       string
	machine    *image.Machine // or
	ref        transport.Ref
	container  transport.Image
	digests    []oci.Digest // by which statements may name it
	provenance [][]byte
	bills      [][]byte
	others     [][]byte
}

// findSubject reads the image that a person names: the folder of a machine
// image, or an image as transport.Parse reads it.
func findSubject(ctx context.Context, name string, o transport.Options) (*subject, error) {
	m, err := image.ReadMachine(name)
	if err == nil {
		return machineSubject(name, m)
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, err
	}
	s := &subject{name: name}
	if s.ref, err = transport.Parse(name); err != nil {
		return nil, err
	}
	if s.container, s.provenance, err = transport.Attached(ctx, s.ref, provenance.MediaType, o); err != nil {
		return nil, err
	}
	s.digests = []oci.Digest{s.container.Digest, s.container.ConfigSum}
	_, s.bills, err = transport.Attached(ctx, s.ref, sbom.MediaType, o)
	return s, err
}

func machineSubject(name string, m *image.Machine) (*subject, error) {
	s := &subject{name: name, machine: m, digests: []oci.Digest{m.Disk.Digest}}
	for file, list := range map[string]*[][]byte{
		m.ProvenancePath(): &s.provenance, m.SBOMPath(): &s.bills, m.ReferencePath(): &s.others,
	} {
		raw, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		*list = append(*list, raw)
	}
	return s, nil
}

func (s *subject) wrong(format string, args ...any) error {
	return &StatementError{s.name, fmt.Sprintf(format, args...)}
}

// Statements are what is stated of an image, wherever it is, each with who
// signed it. A statement about something else and a signature that does not
// fit are *StatementErrors.
func (i Installation) Statements(ctx context.Context, name string, o transport.Options) ([]Stated, error) {
	s, err := findSubject(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return i.stated(ctx, s)
}

func (i Installation) stated(ctx context.Context, s *subject) ([]Stated, error) {
	roots, err := i.roots(ctx)
	if err != nil {
		return nil, err
	}
	var list []Stated
	for _, raw := range append(s.provenance[:len(s.provenance):len(s.provenance)], s.others...) {
		one, err := s.read(raw, roots)
		if err != nil {
			return nil, err
		}
		list = append(list, *one)
	}
	return list, nil
}

// roots are those that certify this installation's keys: none without keys.
func (i Installation) roots(ctx context.Context) (*x509.CertPool, error) {
	ring, err := keys.Open(ctx, i.Keys(), time.Now())
	if errors.Is(err, keys.ErrNotExist) {
		return x509.NewCertPool(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return ring.RootPool(), nil
}

// read judges one envelope. Whose key signed it is for the reader to judge; a
// signature that no key made is refused.
func (s *subject) read(raw []byte, roots *x509.CertPool) (*Stated, error) {
	envelope, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, s.wrong("%v", err)
	}
	statement, err := sign.Peek(envelope)
	if err != nil {
		return nil, s.wrong("%v", err)
	}
	stated := &Stated{Type: statement.PredicateType, Statement: statement}
	if len(envelope.Signatures) > 0 {
		if err := stated.judge(envelope, roots); err != nil {
			return nil, s.wrong("its %s: %v", statement.PredicateType, err)
		}
	}
	for _, d := range s.digests {
		if provenance.SpeaksOf(statement, d) {
			return stated, nil
		}
	}
	return nil, s.wrong("its %s speaks of something else", statement.PredicateType)
}

func (s *Stated) judge(envelope sign.Envelope, roots *x509.CertPool) error {
	now := time.Now()
	if _, cert, err := sign.Open(envelope, roots, now); err == nil {
		s.SignedBy, s.Certified = sign.KeyID(cert), true
		return nil
	}
	own := x509.NewCertPool() // the certificates that came with it: they prove the bytes, not the key
	for _, signature := range envelope.Signatures {
		if cert, err := x509.ParseCertificate(signature.Certificate); err == nil {
			own.AddCert(cert)
		}
	}
	_, cert, err := sign.Open(envelope, own, now)
	if err != nil {
		return errors.New("no signature fits it")
	}
	s.SignedBy = sign.KeyID(cert)
	return nil
}

// SBOM is the image's bill of materials. Where there is provenance, it is the
// one that the build stated.
func (i Installation) SBOM(ctx context.Context, name string, o transport.Options) ([]byte, error) {
	s, err := findSubject(ctx, name, o)
	if err != nil {
		return nil, err
	}
	if len(s.bills) == 0 {
		return nil, fmt.Errorf("%s has no bill of materials: %w", name, ErrNothingStated)
	}
	list, err := i.stated(ctx, s)
	if err != nil {
		return nil, err
	}
	stated := false
	for _, one := range list {
		p, err := provenance.Parse(one.Statement)
		if err != nil {
			continue
		}
		stated = true
		for _, bill := range s.bills {
			if p.Stated(oci.SHA256(bill)) {
				return bill, nil
			}
		}
	}
	if stated {
		return nil, s.wrong("its bill of materials is not the one of its build")
	}
	return s.bills[0], nil
}
