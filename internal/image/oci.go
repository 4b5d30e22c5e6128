package image

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

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
	Layers   []Layer    `json:"layers"`
	Size     int64      `json:"size"`     // of the layers as stored
	Unpacked int64      `json:"unpacked"` // bytes in regular files
}

// A Layer of an image that was built.
type Layer struct {
	Name   string     `json:"name"` // of its group of packages, or "files" for the recipe's own
	Digest oci.Digest `json:"digest"`
	DiffID oci.Digest `json:"diff_id"` // of the tar within
	Size   int64      `json:"size"`
}

// BuildOCI makes an OCI image layout with one image: a layer for each group of
// packages, and one for what the recipe adds itself.
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
	return result, b.Derived.Prune()
}

// pack makes the layout of one tree.
func (b *build) pack(ctx context.Context, l *layout, t *tree.Tree, o OCIOptions) (*OCIResult, error) {
	step := b.Progress.Start("compress layers", t.Size(), progress.Bytes)
	layers, made, err := b.layers(ctx, l, t, o.Compression, step)
	if err != nil {
		step.Fail()
		return nil, err
	}
	step.Done(fmt.Sprintf("%d layers", len(layers)))
	config, err := l.blob(v1.MediaTypeImageConfig, b.config(made))
	if err != nil {
		return nil, err
	}
	manifest, err := l.blob(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: layers,
	})
	if err != nil {
		return nil, err
	}
	result := &OCIResult{
		Dir: l.final, Digest: oci.Digest(manifest.Digest), Config: oci.Digest(config.Digest), Layers: made, Unpacked: t.Size(),
	}
	for _, layer := range made {
		result.Size += layer.Size
	}
	attached, err := b.attachStatements(l, manifest, product{
		tree: t, subjects: b.subjectsOf(manifest, config), internal: map[string]string{"compression": string(cmp.Or(o.Compression, Zstd))},
	})
	if err != nil {
		return nil, err
	}
	return result, l.finish(manifest, cmp.Or(o.Tag, "latest"), attached...)
}

// layers writes what each layer of t adds, several at once. One that adds
// nothing, because the recipe removes it all, is left out.
func (b *build) layers(ctx context.Context, l *layout, t *tree.Tree, c Compression, step progress.Step) ([]v1.Descriptor, []Layer, error) {
	names, err := b.layerNames()
	if err != nil {
		return nil, nil, err
	}
	codec, err := c.codec()
	if err != nil {
		return nil, nil, err
	}
	var present []int
	for i := range names {
		if t.LayerPaths(i) > 0 {
			present = append(present, i)
		}
	}
	layers, made := make([]v1.Descriptor, len(present)), make([]Layer, len(present))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for at, i := range present {
		g.Go(func() error {
			step.Note(names[i])
			tar, err := newPlain(func(w io.Writer) error { return t.WriteLayer(w, i, b.Lock.Date) })
			if err == nil {
				layers[at], err = l.layer(c.mediaType(), func(w io.Writer) error { return b.packed(ctx, w, codec, tar, meter{ctx, step}) })
			}
			if err != nil {
				return fmt.Errorf("layer %s: %w", names[i], err)
			}
			made[at] = Layer{names[i], oci.Digest(layers[at].Digest), tar.sum, layers[at].Size}
			return nil
		})
	}
	return layers, made, g.Wait()
}

// layerNames are those of the tree's layers, in their order.
func (b *build) layerNames() ([]string, error) {
	parts, err := b.Recipe.Parts(b.Lock)
	var names []string
	for _, p := range parts {
		names = append(names, p.Name)
	}
	return append(names, "files"), err
}

// config is the image's config, dated by the lock. It stays readable when the
// image is encrypted, so it names no package.
func (b *build) config(layers []Layer) v1.Image {
	date := b.Lock.Date.UTC()
	config := v1.Image{
		Created:  &date,
		Platform: v1.Platform{Architecture: b.Lock.Architecture, OS: "linux"},
		Config:   runConfig(b.Recipe.OCI),
		RootFS:   v1.RootFS{Type: "layers"},
	}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.DiffID))
		config.History = append(config.History, v1.History{Created: &date, CreatedBy: "holdfast image build " + b.Recipe.Name, Comment: l.Name})
	}
	return config
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
