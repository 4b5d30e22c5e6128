package wiring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/enc"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/sign"
)

// A Link is a thing in a chain of statements. What it rests on, and what came
// of it, is below it.
type Link struct {
	Kind    string  `json:"kind"` // secret, release, configuration, policy, machine image, image, statement, key, …
	Name    string  `json:"name"`
	Digest  string  `json:"digest,omitempty"`
	Text    string  `json:"text,omitempty"`
	Problem string  `json:"problem,omitempty"` // why it is not to be relied on
	Links   []*Link `json:"links,omitempty"`
}

func (l *Link) add(links ...*Link) *Link {
	l.Links = append(l.Links, links...)
	return l
}

// Problems counts what is not to be relied on.
func (l *Link) Problems() int {
	n := 0
	if l.Problem != "" {
		n = 1
	}
	for _, below := range l.Links {
		n += below.Problems()
	}
	return n
}

// A NothingError says that a word names nothing that is known.
type NothingError struct{ Word string }

func (e *NothingError) Error() string {
	return fmt.Sprintf("%.120q is no file, image, resource, run or digest that is known here", e.Word)
}

// A search is one question of why.
type search struct {
	Installation
	ring   *keys.Ring
	broker *admin.Client
	reader proof.Reader
	audit  []api.AuditEntry
}

// Why finds the chain of statements behind subject: a resource of the broker, a
// run, a machine image, an image, a file of statements, or a digest of one of
// these.
func (i Installation) Why(ctx context.Context, subject string) (*Link, error) {
	s, err := i.newSearch(ctx)
	if err != nil {
		return nil, err
	}
	if digest := strings.TrimPrefix(subject, "sha256:"); len(digest) == 64 && digest != subject {
		return s.byDigest(ctx, subject)
	}
	if strings.HasPrefix(subject, kbsScheme) {
		return s.secret(ctx, strings.TrimPrefix(subject, kbsScheme))
	}
	if info, err := os.Stat(subject); err == nil {
		return s.path(ctx, subject, info.IsDir())
	}
	if strings.HasPrefix(subject, "oci:") {
		return s.image(ctx, subject)
	}
	if enc.CheckKID(kbsScheme+subject) == nil {
		return s.secret(ctx, subject)
	}
	link, err := s.run(ctx, subject)
	if errors.Is(err, ErrNoRun) && CheckName(subject) == nil {
		return s.built(ctx, subject)
	}
	if errors.Is(err, ErrNoRun) {
		return nil, &NothingError{subject}
	}
	return link, err
}

func (i Installation) newSearch(ctx context.Context) (*search, error) {
	ring, err := i.Ring(ctx)
	if err != nil {
		return nil, err
	}
	broker, err := i.Admin(ring)
	if err != nil {
		return nil, err
	}
	s := &search{Installation: i, ring: ring, broker: broker}
	if s.audit, err = broker.Decisions(ctx); err != nil {
		return nil, err
	}
	s.reader, err = i.reader(Verification{At: time.Now()})
	if errors.Is(err, os.ErrNotExist) { // no TPM was made here yet: proofs are shown unchecked
		err = nil
	}
	return s, err
}

// path is a folder of an image, or a file of statements.
func (s *search) path(ctx context.Context, path string, isDir bool) (*Link, error) {
	if !isDir {
		return s.file(ctx, path)
	}
	if _, err := os.Stat(filepath.Join(path, "image.json")); err == nil {
		return s.machineImage(ctx, path)
	}
	if _, err := os.Stat(filepath.Join(path, "oci-layout")); err == nil {
		return s.image(ctx, "oci:"+path)
	}
	return nil, fmt.Errorf("%s: neither a machine image nor an OCI layout", path)
}

// file is one of a statement, or of several, as run --proof writes it.
func (s *search) file(ctx context.Context, path string) (*Link, error) {
	raw, err := input.ReadFile(path, maxProofs)
	if err != nil {
		return nil, err
	}
	all, err := proof.Split(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: neither a statement nor proofs: want DSSE envelopes", path)
	}
	l, knowsTPMs := &Link{Kind: "file", Name: filepath.Base(path)}, len(s.reader.EKRoots) > 0
	for _, one := range all {
		if p, err := proof.Peek(one); err == nil && knowsTPMs {
			when := p.Release.Time.Format(time.RFC3339)
			l.add((&Link{Kind: "release", Name: p.Release.Resource, Text: when}).add(s.proof(ctx, "", one)))
		} else if st := s.statement(l.Name, one); st != nil {
			l.add(st)
		} else {
			return nil, fmt.Errorf("%s: no DSSE envelope", path)
		}
	}
	if len(l.Links) == 1 {
		return l.Links[0], nil
	}
	return l, nil
}

// built is a machine image that the installation made, by its name.
func (s *search) built(ctx context.Context, name string) (*Link, error) {
	dir := s.Installation.Image(name)
	if _, err := os.Stat(filepath.Join(dir, "image.json")); err != nil {
		return nil, &NothingError{name}
	}
	return s.machineImage(ctx, dir)
}

// statement reads a DSSE envelope and says who signed it; nil when raw is none.
// It must speak of one of about, if there are any.
func (s *search) statement(name string, raw []byte, about ...string) *Link {
	env, err := sign.ParseEnvelope(raw)
	if err != nil || env.PayloadType == "" {
		return nil
	}
	l := &Link{Kind: "statement", Name: name}
	st, err := sign.Peek(env)
	if err != nil {
		l.Problem = err.Error()
		return l
	}
	l.Text = st.PredicateType
	if len(about) > 0 && !speaksOf(st, about) {
		l.Problem = "it speaks of something else"
		return l
	}
	_, cert, err := sign.Open(env, s.ring.RootPool(), time.Now())
	purpose := keys.Image
	if errors.Is(err, sign.ErrUntrusted) {
		_, cert, err = sign.OpenDocument(env, s.ring.RootPool(), time.Now())
		purpose = keys.Broker
	}
	if err != nil {
		l.Problem = err.Error()
		return l
	}
	key := &Link{Kind: "key", Name: cert.Subject.CommonName, Digest: sign.KeyID(cert), Text: keys.Purpose(purpose)}
	root := s.ring.Pair(keys.Root).Certificate
	return l.add(key.add(&Link{Kind: "root", Name: root.Subject.CommonName, Digest: sign.KeyID(root), Text: "made by holdfast key init"}))
}

func speaksOf(st sign.Statement, digests []string) bool {
	return slices.ContainsFunc(st.Subject, func(subject sign.Subject) bool {
		return slices.Contains(digests, "sha256:"+subject.Digest["sha256"])
	})
}
