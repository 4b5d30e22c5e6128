package attack

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/image/transport"
	"holdfast/internal/oci"
	"holdfast/internal/wiring"
	"holdfast/internal/wiring/machine"
)

// A workload is an image in the site's registry. Its parts are files there,
// which an attack may change as the registry's operator can.
type workload struct {
	site     *site
	name     string     // of its repository
	dir      string     // an OCI layout
	digest   oci.Digest // that a machine's configuration pins
	manifest v1.Manifest
	keys     []string // that its machine may have
}

// layerSize makes layers of more than one of the pieces that a guest works on.
const layerSize = 1 << 20

// canary is in every layer that an encrypted workload has.
const canary = "nobody may see this before it was found genuine"

// encrypted puts an image of two layers into the registry, encrypted for a key
// that the broker has.
func (s *site) encrypted(ctx context.Context, name string) (*workload, error) {
	plain, err := s.lab.Folder(name)
	if err != nil {
		return nil, err
	}
	seed := rand.NewChaCha8([32]byte{})
	var layers []layer
	for i := range 2 {
		content := make([]byte, layerSize)
		_, _ = seed.Read(content)
		layers = append(layers, archive(file(fmt.Sprintf("canary%d", i), []byte(canary)), file(fmt.Sprintf("data%d", i), content)))
	}
	if _, err := compose(plain, layers...); err != nil {
		return nil, err
	}
	w := &workload{site: s, name: name, dir: filepath.Join(s.installation.Registry(), name), keys: []string{"default/key/" + name}}
	e, err := wiring.Encrypt(ctx, s.admin, wiring.Encryption{
		Source: transport.LayoutRef(plain, ""), Target: transport.LayoutRef(w.dir, "t"), Recipients: []string{"kbs:///" + w.keys[0]},
	})
	if err != nil {
		return nil, err
	}
	w.digest = e.Digest
	return w, w.read()
}

// plain puts an image of layers into the registry as they are.
func (s *site) plain(name string, layers ...layer) (*workload, error) {
	w := &workload{site: s, name: name, dir: filepath.Join(s.installation.Registry(), name)}
	var err error
	if w.digest, err = compose(w.dir, layers...); err != nil {
		return nil, err
	}
	return w, w.read()
}

func (w *workload) read() error {
	raw, err := os.ReadFile(w.blob(w.digest))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, &w.manifest)
}

// blob is the file of a digest.
func (w *workload) blob(d oci.Digest) string { return filepath.Join(w.dir, "blobs", "sha256", d.Hex()) }

// layer is the file of layer n.
func (w *workload) layer(n int) string { return w.blob(oci.Digest(w.manifest.Layers[n].Digest)) }

// repin writes the manifest anew, after it was changed, and has the machine
// told to run that: what nobody but the image's maker can do.
func (w *workload) repin() error {
	d, err := finish(w.dir, w.manifest)
	w.digest = d
	return err
}

// A pull is how a machine comes to its image.
type pull struct {
	registry api.Endpoint // the site's when it has no URL
	dir      string       // a new one when empty
	space    int64        // as guest.Config has it
	image    string       // as the configuration names it; by its digest when empty
	policy   string       // of the configuration
	silence  time.Duration
}

// silence is how long a lab's guest waits for a registry that stalls, unless
// the pull says otherwise.
const silence = 2 * time.Second

// run boots a machine for the workload, up to its container's root.
func (w *workload) run(ctx context.Context, p pull) (rootfs string, err error) {
	if p.registry.URL == "" {
		p.registry = w.site.endpoint(w.site.services.RegistryURL())
	}
	if p.dir == "" {
		if p.dir, err = w.site.lab.Folder(w.name); err != nil {
			return "", err
		}
	}
	config := api.GuestConfig{
		Image: cmp.Or(p.image, "registry.example/"+w.name+"@"+string(w.digest)), Policy: p.policy, Registry: p.registry,
		Broker: w.site.endpoint(w.site.services.BrokerURL()),
	}
	document, err := wiring.InitData(config)
	if err != nil {
		return "", err
	}
	if err := w.site.admin.Allow(ctx, string(oci.SHA256(document)), w.keys); err != nil {
		return "", err
	}
	g, err := w.site.boot(ctx, start{document: document})
	if err != nil {
		return "", err
	}
	rootfs, err = machine.Puller{
		Attester: g, Config: config, Document: document, Dir: p.dir, Space: p.space, Silence: cmp.Or(p.silence, silence), Backoff: silence / 100,
	}.Pull(ctx)
	return rootfs, errors.Join(err, g.Close())
}

// refused wants that the guest refuses, and leaves nothing.
func (w *workload) refused(ctx context.Context, p pull) (Refusal, error) {
	dir, err := w.site.lab.Folder(w.name)
	if err != nil {
		return Refusal{}, err
	}
	p.dir = dir
	_, told := w.run(ctx, p)
	left, err := os.ReadDir(dir)
	switch {
	case told == nil:
		return Broke("the image was unpacked"), nil
	case err != nil:
		return Refusal{}, err
	case len(left) > 0:
		return Broke("it was refused (%v), but %s was left", told, left[0].Name()), nil
	}
	return Refusal{Guest, told.Error()}, nil
}

// A layer is an archive and its media type.
type layer struct {
	mediaType string
	data      []byte
}

// An entry is one of an archive, with its content.
type entry struct {
	tar.Header
	content []byte
}

func file(name string, content []byte) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

// archive is a layer of entries. They belong to the user who attacks, so that
// no attack needs root.
func archive(entries ...entry) layer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size, e.Uid, e.Gid, e.ModTime = int64(len(e.content)), os.Geteuid(), os.Getegid(), time.Unix(1700000000, 0)
		_ = w.WriteHeader(&e.Header) // a Buffer takes everything
		_, _ = w.Write(e.content)
	}
	_ = w.Close()
	return layer{v1.MediaTypeImageLayer, b.Bytes()}
}

// compose writes an image of layers as an OCI layout.
func compose(dir string, layers ...layer) (oci.Digest, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return "", err
	}
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(oci.SHA256(l.data)))
		d, err := put(dir, l.mediaType, l.data)
		if err != nil {
			return "", err
		}
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	if m.Config, err = put(dir, v1.MediaTypeImageConfig, raw); err != nil {
		return "", err
	}
	return finish(dir, m)
}

// finish writes the manifest, and an index that names it alone.
func finish(dir string, m v1.Manifest) (oci.Digest, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	d, err := put(dir, v1.MediaTypeImageManifest, raw)
	if err != nil {
		return "", err
	}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}})
	if err != nil {
		return "", err
	}
	return oci.Digest(d.Digest), errors.Join(
		os.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), index, 0o644))
}

func put(dir, mediaType string, data []byte) (v1.Descriptor, error) {
	d := oci.SHA256(data)
	err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", d.Hex()), data, 0o644)
	return v1.Descriptor{MediaType: mediaType, Digest: digest.Digest(d), Size: int64(len(data))}, err
}
