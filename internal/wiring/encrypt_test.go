package wiring

import (
	"path/filepath"
	"testing"

	"holdfast/internal/image/transport"
)

func TestAKeyIsTakenBackWhenNoImageCameOfIt(t *testing.T) {
	i, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	broker, err := i.Admin(ring)
	if err != nil {
		t.Fatal(err)
	}
	e := Encryption{
		Source: transport.LayoutRef(filepath.Join(t.TempDir(), "none"), ""), Target: transport.LayoutRef(filepath.Join(t.TempDir(), "out"), ""),
		Recipients: []string{"kbs:///default/key/one", "kbs"},
	}
	if _, err := Encrypt(t.Context(), broker, e); err == nil {
		t.Fatal("an image that does not exist was encrypted")
	}
	if left, err := broker.Resources(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("got %v and %v, want no keys left", left, err)
	}
}
