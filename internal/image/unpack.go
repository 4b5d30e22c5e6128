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

// An unpacked package is its wanted files, their bytes spooled, and what it
// says of itself.
type unpacked struct {
	reading
	files []entry
}

// An entry is one file of a package.
type entry struct {
	header  *tar.Header
	content tree.Content
}

// unpack adds the files of parts that wanted accepts, each part as a layer.
// Packages are decompressed several at once and enter the tree in order.
func (b *build) unpack(ctx context.Context, name string, t *tree.Tree, parts []recipe.Part, wanted func(string) bool) error {
	var pins []deb.Pin
	var total int64
	for _, part := range parts {
		for _, p := range part.Packages {
			pins, total = append(pins, p), total+p.Size
		}
	}
	step := b.Progress.Start(name, total, progress.Bytes)
	packages, err := b.unpackAll(ctx, pins, wanted, step)
	if err == nil {
		err = b.add(t, parts, packages)
	}
	if err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}

// add puts packages, which are those of parts in order, into the tree.
func (b *build) add(t *tree.Tree, parts []recipe.Part, packages []*unpacked) error {
	for _, part := range parts {
		for _, p := range packages[:len(part.Packages)] {
			b.inventory.packages = append(b.inventory.packages, p.Package)
			if err := p.addTo(t); err != nil {
				return failed(p.Pin, err)
			}
		}
		packages = packages[len(part.Packages):]
		t.NextLayer()
	}
	return nil
}

func failed(p deb.Pin, err error) error {
	return fmt.Errorf("unpack %s %s: %w", p.Name, p.Version, err)
}

func (p *unpacked) addTo(t *tree.Tree) error {
	for _, f := range append(p.files, p.record()) {
		if err := t.AddHeader(p.Pin.Name, f.header, f.content); err != nil {
			return err
		}
	}
	return nil
}

// record says that the package is here, as deb822(5), where scanners look in
// images without dpkg: /var/lib/dpkg/status.d has a file for each.
func (p *unpacked) record() entry {
	text := fmt.Appendf(nil, "Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n",
		p.Pin.Name, p.Pin.Architecture, p.Pin.Version)
	if source := p.Control.Get("Source"); source != "" { // by which advisories name it
		text = fmt.Appendf(text, "Source: %s\n", source)
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "var/lib/dpkg/status.d/" + p.Pin.Name, Mode: 0o644}
	return entry{h, tree.Bytes(text)}
}

// unpackAll unpacks pins, the largest first, so that none is waited for alone.
func (b *build) unpackAll(ctx context.Context, pins []deb.Pin, wanted func(string) bool, step progress.Step) ([]*unpacked, error) {
	packages := make([]*unpacked, len(pins))
	order := make([]int, len(pins))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(pins[j].Size, pins[i].Size) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range order {
		g.Go(func() (err error) {
			if packages[i], err = b.unpackOne(ctx, pins[i], wanted, step); err != nil {
				return failed(pins[i], err)
			}
			return nil
		})
	}
	return packages, g.Wait()
}

func (b *build) unpackOne(ctx context.Context, p deb.Pin, wanted func(string) bool, step progress.Step) (*unpacked, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	step.Note(p.Name)
	u := &unpacked{reading: reading{sbom.Package{Pin: p}}}
	e, err := b.flat(ctx, p, step)
	if err != nil {
		return nil, err
	}
	if e != nil {
		return u, u.readFlat(e, wanted)
	}
	blob, err := b.Store.Open(ctx, p.Digest())
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	r := progress.Reader(blob, step)
	err = deb.Read(r, u.control, func(h *tar.Header, content io.Reader) error {
		content, err := u.file(h, content)
		if err != nil || !wanted(h.Name) {
			return err
		}
		return b.keep(u, h, content)
	})
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r) // the store judges the bytes only at their end
	return u, err
}

// keep spools one file.
func (b *build) keep(u *unpacked, h *tar.Header, r io.Reader) (err error) {
	f := entry{header: h}
	if h.Typeflag == tar.TypeReg {
		f.content, err = b.spool.Add(r, h.Size)
	}
	u.files = append(u.files, f)
	return err
}

func everything(string) bool { return true }
