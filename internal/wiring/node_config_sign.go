package wiring

import (
	"context"
	"fmt"
	"path/filepath"

	"holdfast/internal/ignition/admit"
	"holdfast/internal/sign"
)

// A SignedConfig is a config with the signature of this installation's key for
// statements.
type SignedConfig struct {
	Document []byte
	Key      string // its ID, sha256:HEX, as machines are told it
}

// SignConfig signs what machines read: the bytes of an Ignition config, or the
// translation of a Butane one. A config that is not valid is not signed.
func (i Installation) SignConfig(ctx context.Context, n NodeConfig, name string, raw []byte) (*SignedConfig, error) {
	d, err := n.Read(name, raw)
	if err != nil {
		return nil, err
	}
	if d.Butane {
		raw = d.JSON
	}
	ring, err := i.Ring(ctx)
	if err != nil {
		return nil, err
	}
	by := ring.Statements()
	document, err := admit.Sign(raw, filepath.Base(name), by)
	if err != nil {
		return nil, fmt.Errorf("sign the config: %w", err)
	}
	return &SignedConfig{document, "sha256:" + sign.KeyID(by.Certificate)}, nil
}
