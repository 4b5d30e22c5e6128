package deb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A StaleError names packages that no mirror has any more: the lock that
// pinned them is older than the archive's last point release.
type StaleError struct{ Pins []Pin }

func (e *StaleError) Error() string {
	names := make([]string, len(e.Pins))
	for i, p := range e.Pins {
		names[i] = p.Name + " " + p.Version
	}
	return "the mirror no longer has " + strings.Join(names, ", ")
}

// Fetch brings the package files that pins name into the store, several at
// once, and verifies them; those that are there and good already stay. Files
// that no mirror has are reported together as a *StaleError, when all others
// were brought.
func (a *Archive) Fetch(ctx context.Context, pins []Pin) error {
	absent, total, err := a.absent(ctx, pins)
	if err != nil || len(absent) == 0 {
		return err
	}
	step := a.cfg.Progress.Start("packages", total, progress.Bytes)
	var stale StaleError
	var mu sync.Mutex // guards stale
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(a.cfg.Parallel)
	for _, p := range absent {
		group.Go(func() error {
			err := a.fetchOne(ctx, p, step)
			if !errors.Is(err, errAbsent) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			stale.Pins = append(stale.Pins, p)
			return nil
		})
	}
	err = group.Wait()
	if err == nil && len(stale.Pins) > 0 {
		slices.SortFunc(stale.Pins, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
		err = &stale
	}
	if err != nil {
		step.Fail()
		return err
	}
	step.Done(fmt.Sprintf("%d fetched", len(absent)))
	return nil
}

// absent gives the pins whose files are not in the store, each file once, and
// the sum of their sizes.
func (a *Archive) absent(ctx context.Context, pins []Pin) (absent []Pin, total int64, err error) {
	seen := map[oci.Digest]bool{}
	for _, p := range pins {
		if err := p.Check(); err != nil {
			return nil, 0, err
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		if seen[p.Digest()] || a.have(ctx, p.Digest()) {
			continue
		}
		seen[p.Digest()] = true
		absent, total = append(absent, p), total+p.Size
	}
	return absent, total, nil
}

// fetchOne tries the archives of the pin's suite in turn.
func (a *Archive) fetchOne(ctx context.Context, p Pin, step progress.Step) error {
	problem := ErrNoArchive
	for i, root := range a.archives(p.Suite) {
		err := a.download(ctx, root+"/"+p.Path, p, step)
		if err == nil {
			return nil
		}
		if i == 0 {
			problem = err
		}
		if !errors.Is(err, errAbsent) {
			break
		}
	}
	return fmt.Errorf("package %s: %w", p.Name, problem)
}
