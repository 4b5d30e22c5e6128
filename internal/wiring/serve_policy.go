package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/cosign"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
)

// An Enforcement is a policy that a registry holds its images to.
type Enforcement struct {
	Policy *cosign.Policy
	// Host is how clients call the registry, as HOST[:PORT]: images are judged
	// by the name HOST/REPOSITORY:TAG.
	Host string
	// Pull has every image judged that is asked for; Push every tag that is set.
	// Images that are pushed by their digest may always come, where the policy
	// does not reject all: their signatures can only follow.
	Pull, Push bool
}

// maxAllowed bounds what a gate remembers.
const maxAllowed = 1 << 14

// A gate is an Enforcement at work.
type gate struct {
	Enforcement
	mu      sync.Mutex
	allowed map[string]bool // REPOSITORY@DIGEST that may be pulled by its digest; guarded by mu
}

// gate is what the registry asks; nothing without a policy.
func (e *Enforcement) gate() registry.Gate {
	if e == nil || e.Policy == nil {
		return nil
	}
	return &gate{Enforcement: *e, allowed: map[string]bool{}}
}

func (g *gate) Pull(ctx context.Context, in registry.View, m registry.Manifest) error {
	if !g.Enforcement.Pull || cosign.IsStatement(m.Body) || g.isAllowed(in, m) {
		return nil
	}
	if err := g.decide(ctx, in, m); err != nil {
		return err
	}
	g.remember(in, m)
	return nil
}

func (g *gate) Push(ctx context.Context, in registry.View, m registry.Manifest) error {
	if !g.Enforcement.Push || cosign.IsStatement(m.Body) {
		return nil
	}
	if m.Tag == "" && !g.rejects(in, m) {
		return nil
	}
	return g.decide(ctx, in, m)
}

func (g *gate) subject(in registry.View, m registry.Manifest) (cosign.Subject, error) {
	n, err := cosign.ParseName(g.Host + "/" + in.Repository())
	if n.Tag = m.Tag; m.Tag == "" {
		n.Digest = m.Digest
	}
	return cosign.Subject{Transport: cosign.Docker, Name: n, Digest: m.Digest}, err
}

func (g *gate) decide(ctx context.Context, in registry.View, m registry.Manifest) error {
	s, err := g.subject(in, m)
	if err != nil {
		return err
	}
	d, err := g.Policy.Decide(ctx, s, viewed{in})
	if err != nil {
		return err
	}
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: %w", registry.ErrRefused, err)
	}
	return nil
}

func (g *gate) rejects(in registry.View, m registry.Manifest) bool {
	s, err := g.subject(in, m)
	all, _, _ := g.Policy.For(s)
	return err != nil || cosign.Rejects(all)
}

// isAllowed says whether an image is asked for by its digest that was allowed
// by its tag, as many clients do in this order, or that is listed by an index
// which was allowed: who signs an index signs what it lists.
func (g *gate) isAllowed(in registry.View, m registry.Manifest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return m.Tag == "" && g.allowed[in.Repository()+"@"+string(m.Digest)]
}

func (g *gate) remember(in registry.View, m registry.Manifest) {
	names := []oci.Digest{m.Digest}
	var index ocispec.Index
	if input.JSON(m.Body, &index) == nil {
		for _, d := range index.Manifests {
			names = append(names, oci.Digest(d.Digest))
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.allowed)+len(names) > maxAllowed {
		clear(g.allowed)
	}
	for _, d := range names[:min(len(names), maxAllowed)] {
		g.allowed[in.Repository()+"@"+string(d)] = true
	}
}

// viewed is a registry's own view of a repository, for who looks for
// signatures in it.
type viewed struct{ registry.View }

func (v viewed) Tag(ctx context.Context, tag string) ([]byte, error) {
	m, err := v.View.Manifest(ctx, tag)
	if errors.Is(err, registry.ErrUnknown) {
		err = fmt.Errorf("%w: %w", cosign.ErrNoTag, err)
	}
	return m.Body, err
}

func (v viewed) Manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	m, err := v.View.Manifest(ctx, string(d.Digest))
	return m.Body, err
}

func (v viewed) Referrers(ctx context.Context, image oci.Digest) ([]ocispec.Descriptor, error) {
	list, err := v.View.Referrers(ctx, image, "")
	var descs []ocispec.Descriptor
	for _, d := range list {
		descs = append(descs, ocispec.Descriptor{
			MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size, ArtifactType: d.ArtifactType,
		})
	}
	return descs, err
}

func (v viewed) Blob(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	r, err := v.View.Blob(ctx, oci.Digest(d.Digest))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return input.ReadAll(io.LimitReader(r, d.Size+1), d.Size)
}
