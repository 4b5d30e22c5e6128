package wiring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/image"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// compareReference holds the reference values of an image to those of the
// image that was built again, as far as the image alone decides them: PCRs 4
// and 7 depend on firmware and on the keys that it is enrolled with.
func compareReference(have, made *image.Machine, r *Rebuild) error {
	a, err := referenceOf(have)
	if err != nil {
		return err
	}
	b, err := referenceOf(made)
	if err != nil {
		return err
	}
	r.compare("reference values: UKI", a.UKI, b.UKI)
	r.compare("reference values: root hash", a.RootHash, b.RootHash)
	for _, pcr := range []string{"11", "12", "13"} {
		r.compare("reference values: PCR "+pcr, a.PCRs[pcr], b.PCRs[pcr])
	}
	return nil
}

func referenceOf(m *image.Machine) (*api.ReferenceValues, error) {
	raw, err := os.ReadFile(m.ReferencePath())
	if err != nil {
		return nil, err
	}
	envelope, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.ReferencePath(), err)
	}
	statement, err := sign.Peek(envelope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.ReferencePath(), err)
	}
	v := &api.ReferenceValues{}
	if err := json.Unmarshal(statement.Predicate, v); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(m.ReferencePath()), err)
	}
	return v, nil
}

func fileDigest(path string) (oci.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return oci.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), err
}
