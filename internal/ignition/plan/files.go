package plan

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/files"
	"holdfast/internal/ignition/rooted"
)

// record is written by each run, and so not told.
const record = "/etc/.ignition-result.json"

// files runs the files stage on layers over the root.
func (p *Plan) files(ctx context.Context, c types.Config, conf Config) error {
	for i, l := range c.Storage.Luks {
		p.add(Change{Unknown, "line of /etc/crypttab", l.Name, fmt.Sprintf("$.storage.luks[%d]", i), "it has the UUID of the volume's header"})
	}
	c.Storage.Luks = nil
	return over(conf.Root, func(merged string, layers []layer) error {
		stage := files.New(files.Config{Root: merged, State: &ignition.State{}, Fetch: conf.Fetch, KeyFragments: conf.KeyFragments, Now: conf.Now, Log: conf.Log})
		refusal := stage.Run(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := p.accounts(c, conf.Root, merged); err != nil {
			return err
		}
		var found []Change
		for _, l := range layers {
			list, err := l.changes()
			if err != nil {
				return err
			}
			found = append(found, list...)
		}
		found = slices.DeleteFunc(found, func(c Change) bool { return c.Name == record })
		if err := p.named(c, conf.Root, found, refusal == nil); err != nil {
			return err
		}
		if refusal != nil {
			p.refuse("stage", "files", "", refusal)
		}
		return nil
	})
}

// A wish is a node of the config.
type wish struct{ kind, path, field string }

func wishes(c types.Config) []wish {
	var list []wish
	for i, d := range c.Storage.Directories {
		list = append(list, wish{"directory", d.Path, fmt.Sprintf("$.storage.directories[%d]", i)})
	}
	for i, f := range c.Storage.Files {
		list = append(list, wish{"file", f.Path, fmt.Sprintf("$.storage.files[%d]", i)})
	}
	for i, l := range c.Storage.Links {
		list = append(list, wish{"link", l.Path, fmt.Sprintf("$.storage.links[%d]", i)})
	}
	for i, u := range c.Systemd.Units {
		path := filepath.Join("/etc/systemd/system", u.Name)
		if u.Contents != nil || u.Mask != nil {
			list = append(list, wish{"unit", path, fmt.Sprintf("$.systemd.units[%d]", i)})
		}
		for j, d := range u.Dropins {
			if d.Contents != nil {
				list = append(list, wish{"drop-in", filepath.Join(path+".d", d.Name), fmt.Sprintf("$.systemd.units[%d].dropins[%d]", i, j)})
			}
		}
	}
	return list
}

// named gives changes their fields, and tells what the config names and would
// stay, where the run came to its end.
func (p *Plan) named(c types.Config, root string, found []Change, whole bool) error {
	dir, err := rooted.Open(root)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	var kept []Change
	for _, w := range wishes(c) {
		at, err := dir.Resolve(w.path)
		if err != nil {
			continue // the stage has refused it
		}
		i := slices.IndexFunc(found, func(c Change) bool { return c.Name == dir.Abs(at) })
		if i >= 0 {
			found[i].Field = w.field
			if found[i].Kind == "file" || found[i].Action == Create {
				found[i].Kind = w.kind
			}
		} else if whole {
			kept = append(kept, Change{Keep, w.kind, w.path, w.field, ""})
		}
	}
	p.add(append(found, kept...)...)
	return nil
}
