package web

import (
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A branch is a manifest, with what it lists and what refers to it.
type branch struct {
	Digest, Kind, Role string // the role: platform of a part, or "refers to it"
	Size               int64
	Missing            bool
	Here               bool // it is what the page shows
	Branches           []*branch
}

// Bounds of a tree: an index may list thousands, and each may list others.
const (
	maxBranches = 300
	maxDepth    = 6
)

type grower struct {
	reader     *reader
	repository string
	left       int
}

// grow draws the tree below m.
func (g *grower) grow(m *manifest, role string, depth int) (*branch, error) {
	g.left--
	b := &branch{Digest: m.Digest, Kind: kindOf(m.MediaType, m.ArtifactType), Role: role, Size: m.size(), Here: depth == 0}
	if depth >= maxDepth {
		return b, nil
	}
	referrers, err := g.reader.referrers(g.repository, m.Digest)
	if err != nil {
		return nil, err
	}
	for _, d := range m.Manifests {
		g.add(b, d, platform(d), depth)
	}
	for _, d := range referrers {
		g.add(b, d, "refers to it", depth)
	}
	return b, nil
}

// add draws d below b: as itself where it is there, else as missing.
func (g *grower) add(b *branch, d v1.Descriptor, role string, depth int) {
	if g.reader.ctx.Err() != nil {
		g.left = 0 // the time is over: what was not looked at is not missing
	}
	if g.left <= 0 {
		return
	}
	m, err := g.reader.manifest(g.repository, d.Digest.String())
	if err == nil {
		var child *branch
		if child, err = g.grow(m, role, depth+1); err == nil {
			if child.Kind == "image" && d.ArtifactType != "" {
				child.Kind = kindOf(d.MediaType, d.ArtifactType)
			}
			b.Branches = append(b.Branches, child)
			return
		}
	}
	g.left--
	b.Branches = append(b.Branches, &branch{Digest: d.Digest.String(), Kind: kindOf(d.MediaType, d.ArtifactType), Role: role, Size: d.Size, Missing: true})
}

func platform(d v1.Descriptor) string {
	if d.Platform == nil {
		return "part"
	}
	return strings.Trim(d.Platform.OS+"/"+d.Platform.Architecture+"/"+d.Platform.Variant, "/")
}

// below gives the template of branches what it needs.
func below(name string, list []*branch) any {
	return struct {
		Name string
		List []*branch
	}{name, list}
}
