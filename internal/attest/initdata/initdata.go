// Package initdata reads init-data documents (kbs/docs/initdata.md of Trustee)
// as those do who judge a machine by its configuration.
package initdata

import (
	"crypto"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"holdfast/internal/api"
	"holdfast/internal/policy/claims"
)

// A Document is the configuration that a machine measured before it used any
// of it.
type Document struct {
	Digest    string // sha256:… whatever the algorithm: by it the document is authorised
	Algorithm string // sha256, sha384 or sha512
	Sum       []byte // by the algorithm: this is measured
	Data      map[string]string
}

// Parse reads a document, which is TOML and names the algorithm that it is
// measured with. It returns nil for no message.
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
	algorithm, ok := algorithms[strings.ToLower(document.Algorithm)]
	if !ok {
		return nil, fmt.Errorf("init-data: algorithm %q is not supported: expected sha256, sha384 or sha512", document.Algorithm)
	}
	id := sha256.Sum256([]byte(m.Body))
	d := &Document{Digest: "sha256:" + hex.EncodeToString(id[:]), Sum: id[:], Data: document.Data}
	d.Algorithm = strings.ReplaceAll(strings.ToLower(document.Algorithm), "-", "")
	if algorithm != crypto.SHA256 {
		h := algorithm.New()
		h.Write([]byte(m.Body))
		d.Sum = h.Sum(nil)
	}
	return d, nil
}

// algorithms have the spellings of the specification (kbs/docs/initdata.md)
// and those of kbs-types.
var algorithms = map[string]crypto.Hash{
	"sha256": crypto.SHA256, "sha-256": crypto.SHA256,
	"sha384": crypto.SHA384, "sha-384": crypto.SHA384,
	"sha512": crypto.SHA512, "sha-512": crypto.SHA512,
}

// Claims are the document's data as a token has them.
func (d *Document) Claims() map[string]any { return claims.OfInitData(d.Data) }

// Config is the configuration of a guest of ours; its fields are empty in
// somebody else's document, which has no such key.
func (d *Document) Config() api.GuestConfig {
	var config api.GuestConfig
	_ = json.Unmarshal([]byte(d.Data[api.GuestConfigKey]), &config)
	return config
}
