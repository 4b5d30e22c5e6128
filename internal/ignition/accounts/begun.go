package accounts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// begunPath is there while a user is made or deleted, which takes six files and
// a folder: what a cut leaves of it is taken away by the next run.
const begunPath = "/etc/.ignition-begun-user"

// A begun user is what may be there of one that is not whole any more, or not
// yet.
type begun struct {
	User  string `json:"user"`
	Group string `json:"group,omitempty"` // the user's own
	Home  string `json:"home,omitempty"`  // absent when it was there before, or is not made
	Mail  string `json:"mail,omitempty"`  // likewise
	Gone  bool   `json:"gone,omitempty"`  // it is being deleted: no group has it
}

// begin keeps what may be taken back, before anything of it is there.
func (d *Database) begin(b begun) error {
	at, err := d.Dir.Resolve(begunPath)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := d.Dir.Parents(at); err != nil {
		return err
	}
	return d.put(at, string(raw), 0o600, 0, 0)
}

// end makes it final: nothing is taken back any more.
func (d *Database) end() error {
	at, err := d.Dir.Resolve(begunPath)
	if err == nil {
		err = d.Dir.Remove(at)
	}
	if err != nil {
		return err
	}
	etc, err := d.Dir.Follow("/etc")
	if err != nil {
		return err
	}
	f, err := d.Dir.Open(etc)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// takeBack removes what a run that was cut off left of a user.
func (d *Database) takeBack() error {
	at, err := d.Dir.Resolve(begunPath)
	if err != nil {
		return err
	}
	f, err := d.Dir.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	var b begun
	if err := json.Unmarshal(raw, &b); err != nil {
		return fmt.Errorf("%s: is not what a run leaves: remove it", begunPath)
	}
	if err := d.change(func() error { d.forget(b); return nil }); err != nil {
		return err
	}
	return d.takeAway(b)
}

// takeAway removes what no file of accounts names any more, and ends it.
func (d *Database) takeAway(b begun) error {
	home := d.Dir.Follow // as it is made, and as it is deleted
	if b.Gone {
		home = d.Dir.Resolve
	}
	for _, one := range []struct {
		path string
		find func(string) (string, error)
	}{{b.Mail, d.Dir.Resolve}, {b.Home, home}} {
		if one.path == "" {
			continue
		}
		at, err := one.find(one.path)
		if err != nil {
			return err
		}
		if err := d.Dir.RemoveAll(at); err != nil {
			return fmt.Errorf("%s: %w", one.path, err)
		}
	}
	return d.end()
}

func (d *Database) forget(b begun) {
	for _, t := range []*table{d.passwd, d.shadow, d.subuid, d.subgid} {
		t.remove(b.User)
	}
	if b.Group != "" {
		d.group.remove(b.Group)
		d.gshadow.remove(b.Group)
	}
	if b.Gone {
		_ = d.join(b.User, nil, true) // of no groups, all are there
	}
}

// isThere says whether a path is, links followed.
func (d *Database) isThere(path string) (bool, error) {
	at, err := d.Dir.Follow(path)
	if err != nil {
		return false, err
	}
	_, err = d.Dir.Lstat(at)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
