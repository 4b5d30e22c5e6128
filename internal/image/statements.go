package image

import (
	"encoding/json"

	"holdfast/internal/image/provenance"
	"holdfast/internal/image/sbom"
	"holdfast/internal/image/tree"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// Statements are what a build says of its image, each as it is stored.
type statements struct{ sbom, provenance []byte }

// A product is the image that a build has to speak of.
type product struct {
	format   string // oci or machine
	digest   oci.Digest
	purpose  string // in SPDX's words
	tree     *tree.Tree
	internal map[string]string
	subjects []sign.Subject
}

func (b *build) state(p product) (*statements, error) {
	files, err := b.files(p.tree)
	if err != nil {
		return nil, err
	}
	s := &statements{}
	s.sbom, err = sbom.Write(sbom.Contents{
		Name: b.Recipe.Name, Date: b.Lock.Date, Digest: p.digest, Purpose: p.purpose,
		Packages: b.inventory.packages, Programs: b.inventory.programs, Files: files,
	})
	if err != nil {
		return nil, err
	}
	base, err := b.base()
	if err != nil {
		return nil, err
	}
	sources, err := provenance.Collect(base, b.Recipe, b.Lock, b.inventory.sources)
	if err != nil {
		return nil, err
	}
	envelope, err := provenance.New(provenance.Inputs{
		Format: p.format, Lock: b.Lock, Sources: sources, Internal: p.internal, Programs: b.inventory.programs,
		SBOM: s.sbom, Signers: b.Signers, Subjects: p.subjects,
	})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(envelope)
	s.provenance = append(raw, '\n')
	return s, err
}
