package wiring

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
		st := s.statement(f.Name(), raw, string(m.UKI.Digest), string(m.Disk.Digest), string(m.Root.Digest))
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
	statements, err := s.referrers(ctx, ref, img)
	if err != nil {
		return nil, err
	}
	l.add(statements...)
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

// referrers are what refers to an image, with the statements among them.
func (s *search) referrers(ctx context.Context, ref transport.Ref, img transport.Image) ([]*Link, error) {
	var found []*Link
	seen := map[string]bool{}
	for _, r := range img.Referrers {
		if seen[r.Type] {
			continue
		}
		seen[r.Type] = true
		_, contents, err := transport.Attached(ctx, ref, r.Type, transport.Options{})
		if err != nil {
			return nil, err
		}
		for _, raw := range contents {
			l := s.statement(r.Type, raw, string(img.Digest), string(img.ConfigSum))
			if l == nil {
				l = &Link{Kind: "attachment", Name: r.Type, Text: fmt.Sprintf("%d bytes, nobody signed it by itself", len(raw))}
			}
			l.Digest = string(oci.SHA256(raw))
			found = append(found, l)
		}
	}
	return found, nil
}
