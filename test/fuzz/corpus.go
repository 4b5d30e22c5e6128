package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Inputs that are larger are not worth their place in the repository.
const maxInput = 4 << 10

// corpus copies found inputs into testdata, the smallest first, as long as
// they reach a place of the parser that no committed one reaches.
func (c *config) corpus(ctx context.Context, targets []*Target) error {
	var failed []error
	for _, t := range targets {
		kept, err := c.keep(ctx, t)
		if err != nil {
			failed = append(failed, err)
			fmt.Fprintln(os.Stderr, "fuzz:", err)
		}
		fmt.Printf("%-70s %4d inputs kept\n", t.Key(), kept)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

func (c *config) keep(ctx context.Context, t *Target) (int, error) {
	r, err := c.newReplay(ctx, t)
	if err != nil {
		return 0, err
	}
	defer r.close()
	s := &sieve{config: c, replay: r}
	if s.reached, err = r.run(ctx, c); err != nil {
		return 0, err
	}
	found, err := c.found(t)
	if err != nil {
		return 0, err
	}
	found = slices.DeleteFunc(found, func(f string) bool { info, err := os.Stat(f); return err != nil || info.Size() > maxInput })
	for batch := range slices.Chunk(found, 32) {
		if err := s.sift(ctx, batch); err != nil {
			return 0, err
		}
	}
	for _, file := range s.kept {
		if err := c.commit(t, file); err != nil {
			return 0, err
		}
	}
	return len(s.kept), nil
}

// found lists the inputs that fuzzing found and that are not committed, the
// smallest first. Those of an earlier form of the target are left out.
func (c *config) found(t *Target) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(c.cache(t), t.Name, "*"))
	size := map[string]int{}
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && formOf(string(raw)) == t.Params {
			size[f] = len(raw)
		}
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		_, err := os.Stat(filepath.Join(c.root, t.inputs(filepath.Base(f))))
		return err == nil || size[f] == 0
	})
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(size[a], size[b]), cmp.Compare(a, b)) })
	return files, err
}

// formOf reads the types of an input's values: a line TYPE(VALUE) for each.
func formOf(input string) string {
	var types []string
	_, values, _ := strings.Cut(input, "\n")
	for line := range strings.Lines(values) {
		if name, _, ok := strings.Cut(line, "("); ok {
			types = append(types, name)
		}
	}
	return strings.Join(types, " ")
}

func (c *config) commit(t *Target, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	to := filepath.Join(c.root, t.inputs(filepath.Base(file)))
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, raw, 0o644))
}

// A sieve keeps the inputs that reach something new.
type sieve struct {
	*config
	replay  *replay
	reached map[string]bool
	kept    []string
}

// sift halves a batch that reaches something new until it is one input.
func (s *sieve) sift(ctx context.Context, batch []string) error {
	for _, f := range batch {
		if err := s.replay.take(f); err != nil {
			return err
		}
	}
	reached, err := s.replay.run(ctx, s.config)
	if err != nil {
		return err
	}
	if len(batch) == 1 && s.isNew(reached) {
		s.kept, s.reached = append(s.kept, batch[0]), reached
		return nil
	}
	for _, f := range batch {
		if err := s.replay.drop(f); err != nil {
			return err
		}
	}
	if len(batch) == 1 || !s.isNew(reached) {
		return nil
	}
	half := len(batch) / 2
	return errors.Join(s.sift(ctx, batch[:half]), s.sift(ctx, batch[half:]))
}

func (s *sieve) isNew(reached map[string]bool) bool {
	for place, yes := range reached {
		if yes && !s.reached[place] {
			return true
		}
	}
	return false
}

// coverage records how much of each parser the committed inputs and those in
// the state folder reach.
func (c *config) coverage(ctx context.Context, targets []*Target) error {
	var failed []error
	for _, t := range targets {
		covered, all, err := c.covered(ctx, t)
		if err == nil {
			err = c.update(t, func(a *Account) { a.Covered, a.Statements = covered, all })
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Printf("%-70s %5.1f %% of %d statements\n", t.Key(), 100*float64(covered)/float64(max(all, 1)), all)
	}
	return errors.Join(failed...)
}

func (c *config) covered(ctx context.Context, t *Target) (covered, all int, err error) {
	r, err := c.newReplay(ctx, t)
	if err != nil {
		return 0, 0, err
	}
	defer r.close()
	files, err := c.found(t)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range files {
		if err := r.take(f); err != nil {
			return 0, 0, err
		}
	}
	reached, err := r.run(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	covered, all = r.count(reached)
	return covered, all, nil
}
