package node

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
)

// An Identification is what a machine gets its certificate with.
type Identification struct {
	Config   api.GuestConfig
	Document []byte            // as it was measured
	Log      func(line string) // to the console
	AtEnd    func(func())      // as of a Provision
}

// identify gets the machine its certificate, when it is to have one.
func (m *machine) identify(ctx context.Context) error {
	if m.guest.Identity == nil {
		return nil
	}
	if m.Config.Identify == nil {
		return &Refusal{"identity", errors.New("the configuration has an identity, and this machine image gets none")}
	}
	text, err := m.Config.Identify(ctx, Identification{Config: m.guest, Document: m.document,
		Log: func(line string) { m.line("%s", line) }, AtEnd: m.atEnd})
	if err != nil {
		return err
	}
	m.Stage("identity", text, "")
	return nil
}

// describe leaves what the machine belongs to where its services find it.
func (m *machine) describe(dir string) error {
	for name, said := range map[string]any{"update.json": m.guest.Update, "cluster.json": m.guest.Cluster} {
		raw, err := json.MarshalIndent(said, "", "  ")
		if err != nil {
			return err
		}
		if string(raw) == "null" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, name), append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}
