package wiring

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"holdfast/internal/cosign"
	"holdfast/internal/image/transport"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
)

// A Checking says what an image's signatures must fulfil: a policy, or that
// one of the keys made one.
type Checking struct {
	Image  string
	Keys   []string // PEM files of public keys; the installation's image key when there is neither
	Policy string   // file
	As     string   // the name to judge the image by, as if it were pulled from there
}

// Checked is what came of it.
type Checked struct {
	transport.Subject
	Verified   bool               `json:"verified"`
	Signatures []CheckedSignature `json:"signatures,omitempty"`
	Decision   *cosign.Decision   `json:"decision,omitempty"` // of the policy
}

// A CheckedSignature is one, with whose it is or why it counts for nothing.
type CheckedSignature struct {
	Format      cosign.Format  `json:"format,omitempty"`
	Source      oci.Digest     `json:"source,omitempty"` // of the blob that holds it
	Key         string         `json:"key,omitempty"`    // id of the key that made it
	Name        string         `json:"name,omitempty"`   // of the image, as was signed
	Annotations map[string]any `json:"annotations,omitempty"`
	Problem     string         `json:"problem,omitempty"`
}

// An UnsignedError says why an image is not signed as is wanted.
type UnsignedError struct{ Image, Reason string }

func (e *UnsignedError) Error() string { return fmt.Sprintf("verify %s: %s", e.Image, e.Reason) }

// CheckSignatures judges the signatures beside what the reference names. When
// none is good, the error is an *UnsignedError and what was found is returned.
func (i Installation) CheckSignatures(ctx context.Context, c Checking, o transport.Options) (*Checked, error) {
	ref, err := transport.Parse(c.Image)
	if err != nil {
		return nil, err
	}
	if c.Policy != "" {
		return checkPolicy(ctx, ref, c, o)
	}
	trusted, err := i.trustedKeys(ctx, c.Keys)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	var found cosign.Found
	subject, err := transport.InRepository(ctx, ref, o, func(s transport.Subject, in cosign.Repository) (err error) {
		found, err = cosign.Find(ctx, in, s.Digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	result := &Checked{Subject: subject, Signatures: []CheckedSignature{}}
	for _, s := range found.Signatures {
		one := judge(s, subject.Digest, trusted)
		result.Verified = result.Verified || one.Problem == ""
		result.Signatures = append(result.Signatures, one)
	}
	for _, err := range found.Unread {
		result.Signatures = append(result.Signatures, CheckedSignature{Problem: err.Error()})
	}
	if !result.Verified {
		return result, &UnsignedError{ref.String(), result.reason()}
	}
	return result, nil
}

// checkPolicy has the policy judge the image as if it were pulled from where
// it is, or from where c says.
func checkPolicy(ctx context.Context, ref transport.Ref, c Checking, o transport.Options) (*Checked, error) {
	p, err := ReadPolicy(c.Policy)
	if err != nil {
		return nil, err
	}
	as, err := policySubject(ref, c.As)
	if err != nil {
		return nil, err
	}
	result := &Checked{}
	result.Subject, err = transport.InRepository(ctx, ref, o, func(s transport.Subject, in cosign.Repository) error {
		as.Digest = s.Digest
		d, err := p.Decide(ctx, as, in)
		result.Decision, result.Verified = &d, d.Allowed
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := result.Decision.Err(); err != nil {
		return result, &UnsignedError{ref.String(), err.Error()}
	}
	return result, nil
}

// ReadPolicy reads a policy and the keys that it names.
func ReadPolicy(path string) (*cosign.Policy, error) {
	p, _, err := readPolicy(path)
	return p, err
}

// readPolicy tells which files it looked into, too.
func readPolicy(path string) (p *cosign.Policy, files []string, err error) {
	files = []string{path}
	raw, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, files, fmt.Errorf("policy: %w", err)
	}
	p, err = cosign.ParsePolicy(raw, func(key string) ([]byte, error) {
		files = append(files, key)
		return input.ReadFile(key, input.Key)
	})
	if err != nil {
		return nil, files, fmt.Errorf("%s: %w", path, err)
	}
	return p, files, nil
}

func policySubject(ref transport.Ref, as string) (cosign.Subject, error) {
	if as == "" && ref.Kind != transport.Registry {
		path, err := filepath.Abs(ref.Path)
		if ref.Name != "" {
			path += ":" + ref.Name
		}
		return cosign.Subject{Transport: cosign.Layout, Path: path}, err
	}
	if as == "" {
		as = ref.Remote.Name()
	}
	n, err := cosign.ParseName(as)
	return cosign.Subject{Transport: cosign.Docker, Name: n}, err
}

func judge(s cosign.Signature, image oci.Digest, trusted []cosign.Key) CheckedSignature {
	one := CheckedSignature{Format: s.Format, Source: s.Source}
	key, err := s.Check(image, trusted)
	if err != nil {
		one.Problem = err.Error()
		return one
	}
	one.Key, one.Name, one.Annotations = key.ID(), s.Name, s.Annotations
	return one
}

func (c *Checked) reason() string {
	switch len(c.Signatures) {
	case 0:
		return cosign.ErrUnsigned.Error()
	case 1:
		return "its one signature is not good: " + c.Signatures[0].Problem
	}
	return fmt.Sprintf("none of its %d signatures is good; the first: %s", len(c.Signatures), c.Signatures[0].Problem)
}

func (i Installation) trustedKeys(ctx context.Context, paths []string) ([]cosign.Key, error) {
	if len(paths) == 0 {
		return i.ownKey(ctx)
	}
	var all []cosign.Key
	for _, path := range paths {
		raw, err := input.ReadFile(path, input.Key)
		if err != nil {
			return nil, err
		}
		list, err := cosign.ParseKeys(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// ownKey is the installation's, which must be there: who has just made one can
// have signed nothing with it.
func (i Installation) ownKey(ctx context.Context) ([]cosign.Key, error) {
	ring, err := keys.Open(ctx, i.Keys(), time.Now())
	if errors.Is(err, keys.ErrNotExist) {
		return nil, fmt.Errorf("none is given, and this installation has %w", keys.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	k, err := cosign.NewKey(ring.Pair(keys.Image).Key.Public())
	return []cosign.Key{k}, err
}
