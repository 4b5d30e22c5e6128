package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// A table is one of the files: lines of fields between colons (passwd(5),
// shadow(5), group(5), gshadow(5), subuid(5)). Lines that are none are kept.
type table struct {
	path   string
	fields int
	mode   os.FileMode // of a file that is not there yet
	rows   [][]string
	before string // its bytes when it was read
	there  bool
}

func (d *Database) read(t *table) error {
	at, err := d.Dir.Resolve(t.path)
	if err != nil {
		return err
	}
	raw, err := d.Dir.ReadFile(at)
	if errors.Is(err, fs.ErrNotExist) {
		t.rows, t.before, t.there = nil, "", false
		return nil
	}
	if err != nil {
		return err
	}
	t.before, t.there, t.rows = string(raw), true, parse(string(raw))
	return nil
}

func parse(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), ":"))
	}
	return rows
}

func (t *table) String() string {
	var b strings.Builder
	for _, row := range t.rows {
		b.WriteString(strings.Join(row, ":") + "\n")
	}
	return b.String()
}

// find is nil when the table has no such name.
func (t *table) find(name string) []string {
	for _, row := range t.rows {
		if len(row) == t.fields && row[0] == name {
			return row
		}
	}
	return nil
}

func (t *table) by(field int, value string) []string {
	for _, row := range t.rows {
		if len(row) == t.fields && row[field] == value {
			return row
		}
	}
	return nil
}

func (t *table) add(row ...string) { t.rows = append(t.rows, row) }

func (t *table) remove(name string) {
	t.rows = slices.DeleteFunc(t.rows, func(row []string) bool { return len(row) == t.fields && row[0] == name })
}

// write replaces the file by one of the same owner and mode, and keeps the old
// one under its name with a dash, as its tools do.
func (d *Database) write(t *table) error {
	text := t.String()
	if text == t.before {
		return nil
	}
	at, err := d.Dir.Resolve(t.path)
	if err != nil {
		return err
	}
	if err := d.Dir.Parents(at); err != nil {
		return err
	}
	mode, uid, gid := t.mode, 0, 0
	if info, err := d.Dir.Lstat(at); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: not a file", t.path)
		}
		stat := info.Sys().(*syscall.Stat_t)
		mode, uid, gid = info.Mode().Perm(), int(stat.Uid), int(stat.Gid)
		if err := d.put(at+"-", t.before, mode, uid, gid); err != nil {
			return err
		}
	}
	if err := d.put(at, text, mode, uid, gid); err != nil {
		return err
	}
	t.before, t.there = text, true
	return nil
}

func (d *Database) put(at, text string, mode os.FileMode, uid, gid int) error {
	f, err := d.Dir.OpenFile(at+"+", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = d.Dir.Rename(at+"+", at)
	}
	if err != nil {
		return errors.Join(err, d.Dir.Remove(at+"+"))
	}
	return nil
}
