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
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/sbom"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
)

// An entry is one file of a package.
type entry struct {
	header  *tar.Header
	content tree.Content
}

// An unpacked package has its wanted files and what it says of itself.
type unpacked struct {
	files []entry
	noted sbom.Package
}

// unpack adds the files of parts that wanted accepts, each part as a layer.
// Packages are decompressed several at once, the largest first, and enter the
// tree in the parts' order.
func (b *build) unpack(ctx context.Context, name string, t *tree.Tree, parts []recipe.Part, wanted func(string) bool) error {
	var pins []deb.Pin
	var total int64
	for _, part := range parts {
		pins = append(pins, part.Packages...)
	}
	for _, p := range pins {
		total += p.Size
	}
	step := b.Progress.Start(name, total, progress.Bytes)
	all, err := b.read(ctx, pins, wanted, step)
	for _, part := range parts {
		if err == nil {
			err = b.addPart(t, all[:len(part.Packages)])
			all = all[len(part.Packages):]
		}
	}
	if err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}

// addPart makes a layer of packages.
func (b *build) addPart(t *tree.Tree, packages []unpacked) error {
	for _, u := range packages {
		for _, f := range u.files {
			if err := t.AddHeader(u.noted.Pin.Name, f.header, f.content); err != nil {
				return fmt.Errorf("unpack %s %s: %w", u.noted.Pin.Name, u.noted.Pin.Version, err)
			}
		}
		b.inventory.packages = append(b.inventory.packages, u.noted)
	}
	t.NextLayer()
	return nil
}

// read spools the wanted files of each of pins.
func (b *build) read(ctx context.Context, pins []deb.Pin, wanted func(string) bool, step progress.Step) ([]unpacked, error) {
	all := make([]unpacked, len(pins))
	order := make([]int, len(pins))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(pins[j].Size, pins[i].Size) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range order {
		g.Go(func() (err error) {
			if all[i], err = b.unpackOne(ctx, pins[i], wanted, step); err != nil {
				return fmt.Errorf("unpack %s %s: %w", pins[i].Name, pins[i].Version, err)
			}
			return nil
		})
	}
	return all, g.Wait()
}

func (b *build) unpackOne(ctx context.Context, p deb.Pin, wanted func(string) bool, step progress.Step) (u unpacked, err error) {
	if err := ctx.Err(); err != nil {
		return u, err
	}
	step.Note(p.Name)
	blob, err := b.Store.Open(ctx, p.Digest())
	if err != nil {
		return u, err
	}
	defer blob.Close()
	r := progress.Reader(blob, step)
	noted := reading{sbom.Package{Pin: p}}
	err = deb.Read(r, noted.control, func(h *tar.Header, content io.Reader) error {
		content, err := noted.file(h, content)
		if err != nil || !wanted(h.Name) {
			return err
		}
		f, err := b.keep(h, content)
		u.files = append(u.files, f)
		return err
	})
	if err != nil {
		return u, err
	}
	u.noted = noted.Package
	_, err = io.Copy(io.Discard, r) // the store judges the bytes only at their end
	return u, err
}

// keep spools the bytes of one file.
func (b *build) keep(h *tar.Header, content io.Reader) (f entry, err error) {
	f.header = h
	if h.Typeflag == tar.TypeReg {
		f.content, err = b.spool.Add(content, h.Size)
	}
	return f, err
}

func everything(string) bool { return true }
