package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/cosign"
	"holdfast/internal/follow"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
)

// An Enforcement is a policy that a registry holds its images to.
type Enforcement struct {
	File string // of the policy, which may change meanwhile; none when empty
	// Host is how clients call the registry, as HOST[:PORT]: images are judged
	// by the name HOST/REPOSITORY:TAG. When empty, where it listens.
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
	file *follow.File[*cosign.Policy]

	mu      sync.Mutex
	policy  *cosign.Policy  // that allowed; guarded by mu, as is
	allowed map[string]bool // REPOSITORY@DIGEST that may be pulled by its digest
}

// gate is what the registry at an address asks; nil without a policy.
func (e Enforcement) gate(listen string, log *slog.Logger) (registry.Gate, error) {
	if e.File == "" {
		return nil, nil
	}
	if _, port, _ := net.SplitHostPort(listen); e.Host == "" && port == "0" {
		return nil, errors.New("a policy judges images by the registry's name: with port 0, --policy-host has to say it")
	}
	e.Host = or(e.Host, listen)
	file, err := follow.Open(follow.Config[*cosign.Policy]{
		Log: log, Read: func() (*cosign.Policy, []string, error) { return readPolicy(e.File) },
	})
	return &gate{Enforcement: e, file: file, allowed: map[string]bool{}}, err
}

func (g *gate) Pull(ctx context.Context, in registry.View, m registry.Manifest) error {
	p := g.file.Get()
	if !g.Enforcement.Pull || g.isAllowed(p, in, m) || isStatement(ctx, in, m) {
		return nil
	}
	if err := g.decide(ctx, p, in, m); err != nil {
		return err
	}
	g.remember(p, in, m)
	return nil
}

func (g *gate) Push(ctx context.Context, in registry.View, m registry.Manifest) error {
	if !g.Enforcement.Push || isStatement(ctx, in, m) {
		return nil
	}
	p := g.file.Get()
	if m.Tag == "" && !g.rejects(p, in, m) {
		return nil
	}
	return g.decide(ctx, p, in, m)
}

func isStatement(ctx context.Context, in registry.View, m registry.Manifest) bool {
	return cosign.IsStatement(ctx, viewed{in}, m.MediaType, m.Body)
}

func (g *gate) subject(in registry.View, m registry.Manifest) (cosign.Subject, error) {
	n, err := cosign.ParseName(g.Host + "/" + in.Repository())
	if n.Tag = m.Tag; m.Tag == "" {
		n.Digest = m.Digest
	}
	return cosign.Subject{Transport: cosign.Docker, Name: n, Digest: m.Digest}, err
}

func (g *gate) decide(ctx context.Context, p *cosign.Policy, in registry.View, m registry.Manifest) error {
	s, err := g.subject(in, m)
	if err != nil {
		return err
	}
	d, err := p.Decide(ctx, s, viewed{in})
	if err != nil {
		return err
	}
	if err := d.Err(); err != nil {
		return fmt.Errorf("%w: %w", registry.ErrRefused, err)
	}
	return nil
}

func (g *gate) rejects(p *cosign.Policy, in registry.View, m registry.Manifest) bool {
	s, err := g.subject(in, m)
	all, _, _ := p.For(s)
	return err != nil || cosign.Rejects(all)
}

// isAllowed says whether an image is asked for by its digest that was allowed
// by its tag, as many clients do in this order, or that is listed by an index
// which was allowed: who signs an index signs what it lists.
func (g *gate) isAllowed(p *cosign.Policy, in registry.View, m registry.Manifest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return m.Tag == "" && g.policy == p && g.allowed[in.Repository()+"@"+string(m.Digest)]
}

func (g *gate) remember(p *cosign.Policy, in registry.View, m registry.Manifest) {
	names := []oci.Digest{m.Digest}
	var index ocispec.Index
	if input.JSON(m.Body, &index) == nil {
		for _, d := range index.Manifests {
			names = append(names, oci.Digest(d.Digest))
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policy != p || len(g.allowed)+len(names) > maxAllowed {
		clear(g.allowed)
	}
	g.policy = p
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
	r, err := v.View.Blob(ctx, oci.Digest(d.Digest), d.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return input.ReadAll(io.LimitReader(r, d.Size+1), d.Size)
}
