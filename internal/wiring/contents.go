package wiring

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/image"
	"holdfast/internal/image/provenance"
	"holdfast/internal/image/sbom"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// readContents believes a bill of materials that the provenance of a machine
// image states, when a key under roots signed that.
func readContents(raw, bill []byte, roots *x509.CertPool, at time.Time) (*api.ImageContents, error) {
	envelope, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	statement, cert, err := sign.Open(envelope, roots, at)
	if err != nil {
		return nil, err
	}
	p, err := provenance.Parse(statement)
	if err != nil {
		return nil, err
	}
	if !p.Stated(oci.SHA256(bill)) {
		return nil, errors.New("its bill of materials is not the one of its build")
	}
	read, err := sbom.Read(bill)
	if err != nil {
		return nil, err
	}
	c := &api.ImageContents{Name: read.Name, SBOM: string(oci.SHA256(bill)), Key: sign.KeyID(cert), Packages: []api.Package{}}
	for _, s := range statement.Subject {
		if s.Name == "uki.efi" {
			c.UKI = "sha256:" + s.Digest["sha256"]
		}
	}
	if c.UKI == "" {
		return nil, errors.New("its provenance is of no machine image")
	}
	for _, p := range read.Packages {
		c.Packages = append(c.Packages, api.Package{Name: p.Name, Version: p.Version, PURL: p.PURL})
	}
	return c, nil
}

// LoadContents tells the broker what the machine image in a folder is made of,
// as far as the folder says it, and the broker wants to know.
func LoadContents(ctx context.Context, b *admin.Client, dir string) error {
	m, err := image.ReadMachine(dir)
	if err != nil {
		return nil // reference values alone
	}
	statement, err := input.ReadFile(m.ProvenancePath(), input.Document)
	var bill []byte
	if err == nil {
		bill, err = input.ReadFile(m.SBOMPath(), input.Document)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = b.LoadContents(ctx, api.ContentsMessage{Provenance: statement, SBOM: bill})
	}
	if err := forgiveAbsent(err); err != nil { // another's broker may have no such thing
		return fmt.Errorf("what it is made of: %w", err)
	}
	return nil
}

// loadContentsOnce is LoadContents where the broker was not told before.
func loadContentsOnce(ctx context.Context, b *admin.Client, m *image.Machine) error {
	told, err := b.History(ctx, api.ContentsKind)
	if err != nil || slices.ContainsFunc(told, func(v api.Version) bool { return v.Name == string(m.UKI.Digest) }) {
		return err
	}
	return LoadContents(ctx, b, m.Dir)
}
