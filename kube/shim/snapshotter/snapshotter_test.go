package snapshotter

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

func TestALayerIsThereBeforeItIsFetched(t *testing.T) {
	ctx := context.Background()
	s, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	below := ""
	for _, layer := range []string{"sha256:aa", "sha256:bb"} {
		label := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: layer})
		for range 2 { // two pods pull at once
			if _, err := s.Prepare(ctx, "extract "+layer, below, label); !errdefs.IsAlreadyExists(err) {
				t.Fatalf("layer %s: got %v, want that it exists", layer, err)
			}
		}
		info, err := s.Stat(ctx, layer)
		if err != nil || info.Kind != snapshots.KindCommitted || info.Parent != below || info.Labels[snapshots.LabelSnapshotRef] != layer {
			t.Fatalf("layer %s: got %+v, %v", layer, info, err)
		}
		below = layer
	}
	mounts, err := s.Prepare(ctx, "container", below)
	if err != nil || len(mounts) != 1 || mounts[0].Options[0] != "ro" {
		t.Fatalf("got %v, %v, want one read-only folder", mounts, err)
	}
	if err := s.Commit(ctx, "taken", "container"); !errors.Is(err, ErrNoContent) {
		t.Fatalf("commit: got %v, want ErrNoContent", err)
	}
	if err := s.Remove(ctx, "sha256:aa"); err == nil {
		t.Fatal("a layer below another was removed")
	}
	if err := s.Remove(ctx, "container"); err != nil {
		t.Fatal(err)
	}
}
