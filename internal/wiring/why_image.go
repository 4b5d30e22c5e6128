package wiring

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/image"
	"holdfast/internal/image/transport"
	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// machineImage is the image in a folder with every statement beside it.
func (s *search) machineImage(ctx context.Context, dir string) (*Link, error) {
	m, err := image.ReadMachine(dir)
	if err != nil {
		return nil, err
	}
	l := &Link{Kind: "machine image", Name: m.Name, Digest: string(m.UKI.Digest), Text: "root hash " + m.RootHash}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if !f.Type().IsRegular() || !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		raw, err := input.ReadFile(filepath.Join(dir, f.Name()), input.Document)
		if err != nil {
			return nil, err
		}
		st := s.statement(f.Name(), raw)
		if st == nil {
			continue
		}
		st.Digest = string(oci.SHA256(raw))
		l.add(st)
		if st.Text == api.ReferenceType {
			s.trust(ctx, l, st)
		}
	}
	return l.add(s.releases(ctx, func(p *Link) bool { return mentions(p, string(m.UKI.Digest)) })...), nil
}

// trust says whether the broker goes by these reference values, and who told it.
func (s *search) trust(ctx context.Context, image, st *Link) {
	images, err := s.broker.Images(ctx)
	if err != nil {
		image.Problem = err.Error()
		return
	}
	if !slices.ContainsFunc(images, func(i api.TrustedImage) bool { return i.ID == st.Digest }) {
		image.add(&Link{Kind: "broker", Name: "does not trust it", Text: "holdfast broker trust would have it do so"})
		return
	}
	l := &Link{Kind: "broker", Name: "trusts it"}
	for _, e := range slices.Backward(s.audit) {
		if e.Action == "trust-image" && e.Decision == api.AuditAllow && strings.HasSuffix(e.Subject, st.Digest) {
			l.Text = fmt.Sprintf("since %s, told by %s", when(e), e.Actor)
			break
		}
	}
	image.add(l)
}

// image is a container image with whatever refers to it.
func (s *search) image(ctx context.Context, word string) (*Link, error) {
	ref, err := transport.Parse(word)
	if err != nil {
		return nil, err
	}
	img, err := transport.Inspect(ctx, ref, transport.Options{})
	if err != nil {
		return nil, err
	}
	l := &Link{Kind: "image", Name: word, Digest: string(img.Digest), Text: fmt.Sprintf("%d layers, %s", len(img.Layers), img.Platform)}
	seen := map[string]bool{}
	for _, layer := range img.Layers {
		if kid := brokerKey(layer); kid != "" && !seen[kid] {
			seen[kid] = true
			l.add(s.key(ctx, kid))
		}
	}
	if dir, ok := strings.CutPrefix(word, "oci:"); ok {
		dir, _, _ = strings.Cut(dir, ":")
		l.add(s.referrers(dir, string(img.Digest))...)
	}
	return l.add(s.releases(ctx, func(p *Link) bool { return mentions(p, string(img.Digest)) })...), nil
}

// key is the resource that opens a layer.
func (s *search) key(ctx context.Context, kid string) *Link {
	l, err := s.secret(ctx, strings.TrimPrefix(kid, kbsScheme))
	if err != nil {
		return &Link{Kind: "secret", Name: kid, Text: "opens its layers", Problem: err.Error()}
	}
	l.Text = "opens its layers; " + l.Text
	return l
}

// The bounds on what is looked at in a layout.
const (
	maxManifest  = 4 << 20
	maxStatement = 16 << 20
)

// referrers are the artifacts in a layout whose subject is digest.
func (s *search) referrers(dir, digest string) []*Link {
	var found []*Link
	blobs, _ := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	for _, path := range blobs {
		m := readManifest(path)
		if m == nil || m.Subject == nil || string(m.Subject.Digest) != digest {
			continue
		}
		l := &Link{Kind: "artifact", Name: or(m.ArtifactType, m.Config.MediaType), Digest: "sha256:" + filepath.Base(path)}
		for _, layer := range m.Layers {
			if st := s.attached(dir, layer); st != nil {
				l.add(st)
			}
		}
		found = append(found, l)
	}
	return found
}

func readManifest(path string) *ocispec.Manifest {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxManifest {
		return nil
	}
	raw, err := input.ReadFile(path, input.Document)
	if err != nil || len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	m := &ocispec.Manifest{}
	if json.Unmarshal(raw, m) != nil {
		return nil
	}
	return m
}

// attached is a statement in a layer of an artifact, checked against its digest.
func (s *search) attached(dir string, layer ocispec.Descriptor) *Link {
	if layer.Size > maxStatement || layer.Digest.Validate() != nil {
		return nil
	}
	raw, err := input.ReadFile(filepath.Join(dir, "blobs", layer.Digest.Algorithm().String(), layer.Digest.Encoded()), input.Firmware)
	if err != nil {
		return &Link{Kind: "statement", Name: layer.MediaType, Digest: string(layer.Digest), Problem: err.Error()}
	}
	if layer.Digest.Algorithm().FromBytes(raw) != layer.Digest {
		return &Link{Kind: "statement", Name: layer.MediaType, Digest: string(layer.Digest), Problem: "its content has another digest"}
	}
	st := s.statement(layer.MediaType, raw)
	if st != nil {
		st.Digest = string(layer.Digest)
	}
	return st
}
