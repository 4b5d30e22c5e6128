// Package initdata reads init-data documents (kbs/docs/initdata.md of Trustee)
// as those do who judge a machine by its configuration.
package initdata

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/BurntSushi/toml"

	"holdfast/internal/api"
)

// A Document is the configuration that a machine measured before it used any
// of it.
type Document struct {
	Digest string // sha256:…
	Sum    []byte
	Data   map[string]string
}

// Parse reads a document in the only form that is measured here: TOML
// with SHA-256. It returns nil for no message.
func Parse(m *api.InitDataMessage) (*Document, error) {
	if m == nil {
		return nil, nil
	}
	if m.Format != "toml" {
		return nil, fmt.Errorf("init-data: format %q is not supported: expected toml", m.Format)
	}
	var document struct {
		Version   string            `toml:"version"`
		Algorithm string            `toml:"algorithm"`
		Data      map[string]string `toml:"data"`
	}
	if _, err := toml.Decode(m.Body, &document); err != nil {
		return nil, fmt.Errorf("init-data: %w", err)
	}
	if document.Version != "0.1.0" {
		return nil, fmt.Errorf("init-data: version %q is not supported: expected 0.1.0", document.Version)
	}
	if a := document.Algorithm; a != "sha256" && a != "sha-256" {
		return nil, fmt.Errorf("init-data: algorithm %q is not supported: expected sha256, which PCR 8 holds", a)
	}
	sum := sha256.Sum256([]byte(m.Body))
	return &Document{Digest: "sha256:" + hex.EncodeToString(sum[:]), Sum: sum[:], Data: document.Data}, nil
}

// Config is the configuration of a guest of ours; its fields are empty in
// somebody else's document, which has no such key.
func (d *Document) Config() api.GuestConfig {
	var config api.GuestConfig
	_ = json.Unmarshal([]byte(d.Data[api.GuestConfigKey]), &config)
	return config
}
