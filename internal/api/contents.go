package api

import "encoding/json"

// ContentsPath is where administrators tell what images are made of: GET
// []ImageContents, POST a ContentsMessage.
const ContentsPath = KBSPrefix + "/holdfast/contents"

// ContentsKind is of what a broker keeps in versions: ImageContents by the UKI.
const ContentsKind = "contents"

// A ContentsMessage is an image's bill of materials and the provenance by which
// its build stated it.
type ContentsMessage struct {
	Provenance json.RawMessage `json:"provenance"` // an envelope
	SBOM       []byte          `json:"sbom"`       // SPDX 2.3 in JSON, by its exact bytes
}

// ImageContents are what a machine image is made of, as its build signed it.
type ImageContents struct {
	UKI      string    `json:"uki"`  // sha256:…
	Name     string    `json:"name"` // the recipe's
	SBOM     string    `json:"sbom"` // sha256:… of the bill of materials
	Key      string    `json:"key"`  // that signed the provenance
	Packages []Package `json:"packages"`
}

// A Package is one thing that an image is made of: a Debian package, a Go
// program or a Go module.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl,omitempty"`
}
