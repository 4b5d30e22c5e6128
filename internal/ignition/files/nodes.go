package files

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

// An entry is a directory, file or link at its place in the root.
type entry struct {
	at, field, what string
	node            types.Node
	create          func(ctx context.Context, at string) error
	hard            bool
	contents        types.Resource // of a file
}

// nodes makes what the config's storage lists: shallow ones first, and hard
// links after all that they could name.
func (s *stage) nodes(ctx context.Context, c types.Config) error {
	var entries []entry
	for i, d := range c.Storage.Directories {
		entries = append(entries, s.directoryEntry(d, fmt.Sprintf("$.storage.directories[%d]", i)))
	}
	for i, f := range c.Storage.Files {
		entries = append(entries, s.fileEntry(f, fmt.Sprintf("$.storage.files[%d]", i)))
	}
	for i, l := range c.Storage.Links {
		entries = append(entries, entry{node: l.Node, what: "link", field: fmt.Sprintf("$.storage.links[%d]", i), hard: util.IsTrue(l.Hard),
			create: func(_ context.Context, at string) error { return s.link(at, l) }})
	}
	if err := s.place(entries); err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return a.rank() - b.rank() })
	return s.make(ctx, entries)
}

func (s *stage) directoryEntry(d types.Directory, field string) entry {
	return entry{node: d.Node, what: "directory", field: field,
		create: func(_ context.Context, at string) error { return s.directory(at, d) }}
}

func (s *stage) fileEntry(f types.File, field string) entry {
	return entry{node: f.Node, what: "file", field: field, contents: f.Contents,
		create: func(ctx context.Context, at string) error { return s.file(ctx, at, f) }}
}

// rank is an entry's depth; hard links come after everything.
func (e entry) rank() int {
	if e.hard {
		return 1 << 20
	}
	return strings.Count(e.at, "/")
}

// place resolves the paths before anything is made, and refuses two that mean
// one node.
func (s *stage) place(entries []entry) error {
	taken := map[string]string{}
	for i := range entries {
		e := &entries[i]
		at, err := s.dir.Resolve(e.node.Path)
		if err != nil {
			return ignition.At(err, "%s", e.field)
		}
		if other, ok := taken[at]; ok {
			return ignition.At(fmt.Errorf("%s %s is the same place as %s: links lead both to %s", e.what, e.node.Path, other, s.dir.Abs(at)), "%s", e.field)
		}
		e.at, taken[at] = at, e.node.Path
	}
	return nil
}

func (s *stage) make(ctx context.Context, entries []entry) error {
	fetch, stop := newEarly(ctx, s.Fetch, remotes(entries))
	defer stop()
	s.early = fetch
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.makeOne(ctx, e); err != nil {
			return ignition.At(fmt.Errorf("%s %s: %w", e.what, e.node.Path, err), "%s", e.field)
		}
		s.Log.Info("wrote", e.what, e.node.Path)
	}
	return nil
}

func (s *stage) makeOne(ctx context.Context, e entry) error {
	if util.IsTrue(e.node.Overwrite) {
		if err := s.dir.RemoveAll(e.at); err != nil {
			return fmt.Errorf("overwrite: %w", err)
		}
	}
	return e.create(ctx, e.at)
}
