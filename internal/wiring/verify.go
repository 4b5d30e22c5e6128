package wiring

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/broker"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/issuers"
	"holdfast/internal/broker/state"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/swtpm"
)

// A Verification says which proofs to check, and whom to believe. What is left
// out is this installation's own.
type Verification struct {
	Subject string // a file of proofs, "-" for Stdin, or the name of a run
	Root    string // PEM file
	EKRoots []string
	// Rego files.
	AttestationPolicies, ResourcePolicies []string
	// Files of policies for devices beside the processor, by their class.
	DevicePolicies map[string][]string

	At         time.Time
	Released   *Released // of this installation, and no file or run
	Stdin      io.Reader
	Collateral string // folder of what makers of processors say of them; none when empty
	Issuers    string // file of other verifiers whose tokens count, as of ServeConfig; none when empty
}

// Released says which proofs the broker is asked for: all of a configuration since
// a time.
type Released struct {
	Configuration string // digest of its document
	Since         time.Time
}

// Verified is what became of a verification.
type Verified struct {
	Verified bool            `json:"verified"`
	Subject  string          `json:"subject"`
	At       time.Time       `json:"at"`
	Proofs   []*proof.Report `json:"proofs"`
	Revoked  []Revocation    `json:"revoked,omitempty"` // since, at this installation
	Word     []string        `json:"word"`              // what no reader can check
}

// Verify checks proofs offline. That one is bad is in the result.
func (i Installation) Verify(ctx context.Context, v Verification) (*Verified, error) {
	reader, err := i.reader(v)
	if err != nil {
		return nil, err
	}
	proofs, err := i.proofs(ctx, v)
	if err != nil {
		return nil, err
	}
	recalled, err := i.recall(ctx, v)
	if err != nil {
		return nil, err
	}
	result := &Verified{Verified: true, Subject: v.Subject, At: v.At.UTC(), Proofs: []*proof.Report{}}
	for _, raw := range proofs {
		report, err := proof.Verify(ctx, raw, reader)
		if err != nil {
			return nil, err
		}
		result.Proofs = append(result.Proofs, report)
		result.Verified = result.Verified && report.Verified
		if report.Verified {
			result.Revoked = append(result.Revoked, recalled.of(raw, reader)...)
		}
	}
	result.Word = proof.Word(result.Proofs)
	slices.SortFunc(result.Revoked, func(a, b Revocation) int { return strings.Compare(a.UKI, b.UKI) })
	result.Revoked = slices.Compact(result.Revoked)
	return result, nil
}

// reader collects the roots and policies that v leaves to this installation.
func (i Installation) reader(v Verification) (proof.Reader, error) {
	r := proof.Reader{Roots: x509.NewCertPool(), At: v.At}
	path := or(v.Root, filepath.Join(i.Keys(), keys.Root+".crt"))
	root, err := input.ReadFile(path, input.Document)
	if errors.Is(err, os.ErrNotExist) && v.Root == "" {
		return r, fmt.Errorf("root: %w in %s", keys.ErrNotExist, i.Keys())
	}
	if err != nil {
		return r, fmt.Errorf("root: %w", err)
	}
	if !r.Roots.AppendCertsFromPEM(root) {
		return r, fmt.Errorf("root: %s: want a PEM certificate", path)
	}
	if r.EKRoots, err = i.ekRoots(v.EKRoots); err != nil {
		return r, err
	}
	all, _, err := readCollateral(v.Collateral, func() time.Time { return v.At })
	if err != nil {
		return r, fmt.Errorf("collateral: %w", err)
	}
	r.Hardware = slices.Collect(maps.Values(all))
	if r.Passports, err = passports(v.Issuers); err != nil {
		return r, err
	}
	if r.AttestationPolicies, err = i.policies(v, v.AttestationPolicies, "attestation"); err != nil {
		return r, err
	}
	if r.DevicePolicies, err = i.devicePolicies(v); err != nil {
		return r, err
	}
	r.ResourcePolicies, err = i.policies(v, v.ResourcePolicies, "resource")
	return r, err
}

// passports judges tokens by a file of issuers. Keys behind a URL are not
// fetched: a reader asks nobody.
func passports(file string) (func(string, time.Time) (*proof.Passport, error), error) {
	if file == "" {
		return nil, nil
	}
	list, err := issuers.Open(issuers.Config{File: file})
	if err != nil {
		return nil, err
	}
	return func(token string, at time.Time) (*proof.Passport, error) {
		return broker.OpenPassport(token, list.Get(), at)
	}, nil
}

func (i Installation) ekRoots(paths []string) ([]byte, error) {
	if len(paths) == 0 {
		own, err := swtpm.CA(i.TPMAuthority())
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil // none was made here yet: a proof of other hardware needs none
		}
		return own, err
	}
	var all []byte
	for _, path := range paths {
		raw, err := input.ReadFile(path, input.Document)
		if err != nil {
			return nil, fmt.Errorf("authority of TPMs: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("authority of TPMs: %s: want PEM certificates", path)
		}
		all = append(append(all, raw...), '\n')
	}
	return all, nil
}

// ownPolicies is the one in force at this installation's broker, if it has one.
func (i Installation) ownPolicies(v Verification, kind string) (sources []string, err error) {
	if _, err := os.Stat(filepath.Join(i.Broker(), state.File)); v.Root != "" || err != nil {
		return nil, nil
	}
	kept, err := i.openState(nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	all, _, err := kept.Documents(context.Background(), api.PolicyKind)
	for _, p := range all {
		if p.Name == kind {
			sources = append(sources, string(p.Content))
		}
	}
	return sources, err
}

// policies are those of a kind that the reader names. The one that is in force
// here counts when the root is this installation's, too.
func (i Installation) policies(v Verification, paths []string, kind string) ([]string, error) {
	sources, err := i.ownPolicies(v, kind)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		raw, err := input.ReadFile(path, input.Document)
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		sources = append(sources, string(raw))
	}
	return sources, nil
}

// devicePolicies are those of each class but the processor's, whose policies are
// those of machines.
func (i Installation) devicePolicies(v Verification) (map[string][]string, error) {
	all, classes := map[string][]string{}, attest.Classes()[1:]
	for class := range v.DevicePolicies {
		if !slices.Contains(classes, class) {
			return nil, fmt.Errorf("policies of devices of class %.40q: want one of %s", class, strings.Join(classes, ", "))
		}
	}
	for _, class := range classes {
		sources, err := i.policies(v, v.DevicePolicies[class], "attestation-"+class)
		if err != nil {
			return nil, err
		}
		all[class] = sources
	}
	return all, nil
}

// proofs finds what v is about.
func (i Installation) proofs(ctx context.Context, v Verification) ([][]byte, error) {
	if v.Released != nil {
		return i.released(ctx, v.Subject, *v.Released)
	}
	if v.Subject == "-" {
		return readProofs("standard input", v.Stdin)
	}
	f, err := os.Open(v.Subject)
	if err == nil {
		defer f.Close()
		return readProofs(v.Subject, f)
	}
	if errors.Is(err, os.ErrNotExist) && CheckName(v.Subject) != nil {
		return nil, fmt.Errorf("%.80q: no such file, and no name of a run", v.Subject)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return i.runProofs(ctx, v.Subject)
}

// maxProofs bounds a file of proofs.
const maxProofs = 256 << 20

func readProofs(name string, r io.Reader) ([][]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxProofs+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxProofs {
		return nil, fmt.Errorf("%s: %w: it is larger than %d bytes", name, proof.ErrForm, maxProofs)
	}
	all, err := proof.Split(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

// A NoProofError says that nothing was released to a run or a pod.
type NoProofError struct{ Name string }

func (e *NoProofError) Error() string {
	return fmt.Sprintf("%s: its broker released nothing to it, or keeps the proofs no more", e.Name)
}

// runProofs asks this installation's broker for those of a run, which may be
// under way.
func (i Installation) runProofs(ctx context.Context, name string) ([][]byte, error) {
	report, err := i.Remembered(name)
	if errors.Is(err, ErrNoRun) {
		return nil, fmt.Errorf("%s: no such file, and %w", name, ErrNoRun)
	}
	if err != nil {
		return nil, err
	}
	return i.released(ctx, "run "+name, Released{Configuration: report.Configuration})
}

// released asks this installation's broker.
func (i Installation) released(ctx context.Context, name string, r Released) ([][]byte, error) {
	ring, err := i.Ring(ctx)
	if err != nil {
		return nil, err
	}
	broker, err := i.Admin(ring)
	if err != nil {
		return nil, err
	}
	list, err := proofsOf(ctx, broker, r)
	if err == nil && len(list) == 0 {
		err = &NoProofError{name}
	}
	return list, err
}

// proofsOf fetches the proofs of all that a configuration was given.
func proofsOf(ctx context.Context, broker *admin.Client, r Released) ([][]byte, error) {
	entries, err := broker.Proofs(ctx)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for _, e := range entries {
		if e.Configuration != r.Configuration || e.Time.Before(r.Since) {
			continue
		}
		raw, err := broker.Proof(ctx, e.ID)
		if err != nil {
			return nil, fmt.Errorf("proof %s: %w", e.ID, err)
		}
		list = append(list, raw)
	}
	return list, nil
}
