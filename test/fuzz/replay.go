package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A replay runs a target over chosen inputs and sees what they reach. It works
// in a copy of the repository made of links, where testdata/fuzz is its own.
type replay struct {
	*Target
	root   string // of the copy
	binary string
	blocks map[string]int // of the parser: statements by place
}

// newReplay starts with the committed inputs.
func (c *config) newReplay(ctx context.Context, t *Target) (*replay, error) {
	binary, err := c.build(ctx, t.Dir, false, strings.Join(t.packages(), ","))
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(c.state, "replay-*")
	if err != nil {
		return nil, err
	}
	r := &replay{Target: t, root: root, binary: binary}
	if err := link(c.root, r.root, strings.Split(r.inputs(""), "/")); err != nil {
		return nil, err
	}
	return r, r.add(filepath.Join(c.root, r.inputs("")))
}

// close takes the copy away.
func (r *replay) close() { _ = os.RemoveAll(r.root) }

// packages are those of the parser, as the go command names them.
func (t *Target) packages() []string {
	var list []string
	seen := map[string]bool{}
	for _, code := range t.Parser {
		if dir := filepath.Dir(code.File); !seen[dir] {
			seen[dir] = true
			list = append(list, "./"+dir)
		}
	}
	return list
}

// inputs is the folder of a target's inputs, or a file in it.
func (t *Target) inputs(name string) string {
	return filepath.Join(t.Dir, "testdata", "fuzz", t.Name, name)
}

// link makes to look like from by links to all but path, whose elements
// become folders and whose last is empty.
func link(from, to string, path []string) error {
	if err := os.MkdirAll(to, 0o755); err != nil || len(path) == 0 {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() == path[0] {
			continue
		}
		if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return link(filepath.Join(from, path[0]), filepath.Join(to, path[0]), path[1:])
}

// add takes all inputs of a folder, which may be absent.
func (r *replay) add(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		err = errors.Join(err, r.take(f))
	}
	return err
}

func (r *replay) take(file string) error {
	return os.Symlink(file, filepath.Join(r.root, r.inputs(filepath.Base(file))))
}

func (r *replay) drop(file string) error {
	return os.Remove(filepath.Join(r.root, r.inputs(filepath.Base(file))))
}

// run gives the places of the parser that the inputs reach.
func (r *replay) run(ctx context.Context, c *config) (map[string]bool, error) {
	profile := filepath.Join(r.root, "cover.out")
	cmd := exec.CommandContext(ctx, r.binary, "-test.run=^"+r.Name+"$", "-test.coverprofile="+profile)
	cmd.Dir = filepath.Join(r.root, r.Dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+inMemory())
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", r.Key(), err, out)
	}
	return r.read(c, profile)
}

// read takes the parser's part of a profile: lines of
// FILE:LINE.COLUMN,LINE.COLUMN STATEMENTS COUNT.
func (r *replay) read(c *config, profile string) (map[string]bool, error) {
	f, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ranges, err := c.ranges(r.Target)
	if err != nil {
		return nil, err
	}
	reached := map[string]bool{}
	r.blocks = map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		file, rest, ok := strings.Cut(words[0], ".go:")
		if !ok || len(words) != 3 {
			continue
		}
		first, _, _ := strings.Cut(rest, ".")
		line, _ := strconv.Atoi(first)
		if !ranges.has(strings.TrimPrefix(file+".go", "holdfast/"), line) {
			continue
		}
		r.blocks[words[0]], _ = strconv.Atoi(words[1])
		reached[words[0]] = reached[words[0]] || words[2] != "0"
	}
	return reached, nil
}

// ranges are the lines of a parser, by file.
type ranges map[string][][2]int

func (r ranges) has(file string, line int) bool {
	for _, lines := range r[file] {
		if lines[0] <= line && line <= lines[1] {
			return true
		}
	}
	return false
}

func (c *config) ranges(t *Target) (ranges, error) {
	r := ranges{}
	for _, code := range t.Parser {
		decls, set, err := c.decls(code)
		if err != nil {
			return nil, err
		}
		for _, d := range decls {
			r[code.File] = append(r[code.File], [2]int{set.Position(d.Pos()).Line, set.Position(d.End()).Line})
		}
	}
	return r, nil
}

// count adds up the statements that were reached, and all.
func (r *replay) count(reached map[string]bool) (covered, all int) {
	for place, n := range r.blocks {
		all += n
		if reached[place] {
			covered += n
		}
	}
	return covered, all
}
