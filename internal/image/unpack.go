package image

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/deb"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
)

// An entry is one file of a package.
type entry struct {
	header  *tar.Header
	content tree.Content
}

// unpack adds the files of pins that wanted accepts. Packages are decompressed
// several at once, the largest first, and enter the tree in the lock's order.
func (b *build) unpack(ctx context.Context, name string, t *tree.Tree, pins []deb.Pin, wanted func(string) bool) error {
	var total int64
	for _, p := range pins {
		total += p.Size
	}
	step := b.Progress.Start(name, total, progress.Bytes)
	files, err := b.entries(ctx, pins, wanted, step)
	if err != nil {
		step.Fail()
		return err
	}
	for i, p := range pins {
		for _, f := range files[i] {
			if err := t.AddHeader(p.Name, f.header, f.content); err != nil {
				step.Fail()
				return fmt.Errorf("unpack %s %s: %w", p.Name, p.Version, err)
			}
		}
	}
	step.Done("")
	return nil
}

// entries are the wanted files of each of pins, their bytes spooled.
func (b *build) entries(ctx context.Context, pins []deb.Pin, wanted func(string) bool, step progress.Step) ([][]entry, error) {
	files := make([][]entry, len(pins))
	order := make([]int, len(pins))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(pins[j].Size, pins[i].Size) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range order {
		g.Go(func() (err error) {
			if files[i], err = b.unpackOne(ctx, pins[i], wanted, step); err != nil {
				return fmt.Errorf("unpack %s %s: %w", pins[i].Name, pins[i].Version, err)
			}
			return nil
		})
	}
	return files, g.Wait()
}

func (b *build) unpackOne(ctx context.Context, p deb.Pin, wanted func(string) bool, step progress.Step) ([]entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	step.Note(p.Name)
	blob, err := b.Store.Open(ctx, p.Digest())
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var files []entry
	r := progress.Reader(blob, step)
	err = deb.Unpack(r, func(h *tar.Header, content io.Reader) error {
		if !wanted(h.Name) {
			return nil
		}
		f, err := b.keep(h, content)
		files = append(files, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r) // the store judges the bytes only at their end
	return files, err
}

// keep spools the bytes of one file.
func (b *build) keep(h *tar.Header, content io.Reader) (f entry, err error) {
	f.header = h
	if h.Typeflag == tar.TypeReg {
		f.content, err = b.spool.Add(content, h.Size)
	}
	return f, err
}

// record writes what the tree was made of where scanners look in images without
// dpkg: a paragraph for each package, as deb822(5), in a file of its own.
func (b *build) record(t *tree.Tree) error {
	for _, p := range b.Lock.Packages {
		text := fmt.Appendf(nil, "Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n", p.Name, p.Architecture, p.Version)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "var/lib/dpkg/status.d/" + p.Name, Mode: 0o644}
		if err := t.AddHeader(p.Name, h, tree.Bytes(text)); err != nil {
			return fmt.Errorf("record of packages: %w", err)
		}
	}
	return nil
}

func everything(string) bool { return true }
