// Package testbed is what tests that boot machines share: an installation with
// a machine image, and images of what runs in it.
//
// They are built once and found by content again: a second test that opens the
// same folder waits, and builds nothing.
package testbed

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/image"
	"holdfast/internal/keys"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/swtpm"
	"holdfast/internal/wiring"
)

// Root is the checkout, as tests in a folder of test/ see it.
const Root = "../.."

// A Bed is an installation with its keys and a machine image.
type Bed struct {
	Builder wiring.Builder
	Ring    *keys.Ring
	Machine *image.Machine
}

// Open builds the machine image of a recipe in images/, in HOLDFAST_STATE or
// the checkout's own installation.
func Open(ctx context.Context, machine string) (*Bed, error) {
	dir := os.Getenv("HOLDFAST_STATE")
	if dir == "" {
		dir = filepath.Join(Root, ".holdfast")
	}
	i, err := wiring.Open(dir)
	if err != nil {
		return nil, err
	}
	b := &Bed{Builder: wiring.Builder{Installation: i, Node: filepath.Join(Root, "bin", "holdfast-node")}}
	if b.Ring, err = i.Ring(ctx); err != nil {
		return nil, err
	}
	b.Machine, err = b.Builder.Guest(ctx, filepath.Join(Root, "images", machine), b.Ring)
	return b, err
}

// OCI builds what a recipe says and gives its layout.
func (b *Bed) OCI(ctx context.Context, recipe string) (layout string, err error) {
	layout = filepath.Join(b.Builder.Installation.Dir(), "test", filepath.Base(recipe))
	return layout, b.Builder.Fresh(ctx, recipe, func(l wiring.LockedRecipe) error {
		_, err := b.Builder.OCI(ctx, l, layout)
		return err
	})
}

// Boots skips a test where machines cannot be booted.
func Boots(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots machines: run without -short")
	}
	if _, err := qemu.New(qemu.Config{}); err != nil {
		t.Skip(err, "(make test installs it)")
	}
	if _, err := qemu.FindFirmware(); err != nil {
		t.Skip(err, "(make test installs it)")
	}
	if err := swtpm.Installed(); err != nil {
		t.Skip(err, "(make test installs it)")
	}
}
