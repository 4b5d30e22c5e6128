package image

import (
	"cmp"
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/image/recipe"
	"holdfast/internal/image/tree"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// OCIOptions are Options with what only OCI images have.
type OCIOptions struct {
	Options
	Tag         string      // the name in the index; by default latest
	Compression Compression // by default Zstd
}

// An OCIResult names what BuildOCI made.
type OCIResult struct {
	Dir      string     `json:"dir"`
	Digest   oci.Digest `json:"digest"` // of the manifest
	Config   oci.Digest `json:"config"`
	Layer    oci.Digest `json:"layer"`
	Size     int64      `json:"size"`     // of the layer as stored
	Unpacked int64      `json:"unpacked"` // bytes in regular files
}

// BuildOCI makes an OCI image layout with one image of one layer.
func BuildOCI(ctx context.Context, o OCIOptions) (*OCIResult, error) {
	b, err := newBuild(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	defer b.close()
	l, err := newLayout(o.Output)
	if err != nil {
		return nil, err
	}
	defer l.discard()
	if err := b.Archive.Fetch(ctx, b.Lock.Packages); err != nil {
		return nil, err
	}
	t, err := b.tree(ctx)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", b.Recipe.Name, err)
	}
	result, err := b.pack(ctx, l, t, o)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", b.Recipe.Name, err)
	}
	return result, nil
}

// pack makes the layout of one tree.
func (b *build) pack(ctx context.Context, l *layout, t *tree.Tree, o OCIOptions) (*OCIResult, error) {
	step := b.Progress.Start("compress layer", t.Size(), progress.Bytes)
	layer, diffID, err := l.layer(ctx, t, b.Lock.Date, o.Compression, step)
	if err != nil {
		step.Fail()
		return nil, err
	}
	step.Done(oci.Digest(layer.Digest).Short())
	config, err := l.blob(v1.MediaTypeImageConfig, b.config(diffID))
	if err != nil {
		return nil, err
	}
	manifest, err := l.blob(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: []v1.Descriptor{layer},
	})
	if err != nil {
		return nil, err
	}
	return &OCIResult{
		Dir: l.final, Digest: oci.Digest(manifest.Digest), Config: oci.Digest(config.Digest),
		Layer: oci.Digest(layer.Digest), Size: layer.Size, Unpacked: t.Size(),
	}, l.finish(manifest, cmp.Or(o.Tag, "latest"))
}

// config is the image's config, dated by the lock.
func (b *build) config(diffID oci.Digest) v1.Image {
	date := b.Lock.Date.UTC()
	return v1.Image{
		Created:  &date,
		Platform: v1.Platform{Architecture: b.Lock.Architecture, OS: "linux"},
		Config:   runConfig(b.Recipe.OCI),
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(diffID)}},
		History:  []v1.History{{Created: &date, CreatedBy: "holdfast image build " + b.Recipe.Name}},
	}
}

func runConfig(c *recipe.OCI) v1.ImageConfig {
	if c == nil {
		return v1.ImageConfig{}
	}
	ports := map[string]struct{}{}
	for _, p := range c.Ports {
		ports[p] = struct{}{}
	}
	return v1.ImageConfig{
		User: c.User, ExposedPorts: ports, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		WorkingDir: c.Workdir, Labels: c.Labels,
	}
}
