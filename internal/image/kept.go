package image

import (
	"archive/tar"
	"context"
	"io"
	"sync"

	"holdfast/internal/blob/derived"
	"holdfast/internal/deb"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
)

// kept are the entries of the cache of derived things that a build reads from.
type kept struct {
	mu   sync.Mutex
	open []*derived.Entry // guarded by mu
}

func (k *kept) add(e *derived.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = append(k.open, e)
}

func (k *kept) close() {
	for _, e := range k.open {
		_ = e.Close()
	}
}

// entry opens what was kept under key, for as long as the build lasts.
func (b *build) entry(key derived.Key) *derived.Entry {
	e := b.Derived.Open(key)
	if e != nil {
		b.kept.add(e)
	}
	return e
}

func (b *build) keptContent(key derived.Key) (tree.Content, bool) {
	e := b.entry(key)
	if e == nil {
		return tree.Content{}, false
	}
	return tree.Content{At: e, Size: e.Size()}, true
}

// flat gives a package as deb.ReadFlat reads it, or nil when nothing is kept.
// The first time it is made, from the store's bytes.
func (b *build) flat(ctx context.Context, p deb.Pin, step progress.Step) (*derived.Entry, error) {
	if b.Derived == nil {
		return nil, nil
	}
	key := derived.KeyOf("flat package", p.SHA256)
	if e := b.entry(key); e != nil {
		step.Add(p.Size)
		return e, nil
	}
	blob, err := b.Store.Open(ctx, p.Digest())
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	err = b.Derived.Put(key, func(w io.Writer) error { return deb.Flatten(w, progress.Reader(blob, step)) })
	if err != nil {
		return nil, err
	}
	return b.entry(key), nil
}

// readFlat notes the wanted files of a package where they lie.
func (u *unpacked) readFlat(e *derived.Entry, wanted func(string) bool) error {
	return deb.ReadFlat(e.SectionReader, u.control, func(h *tar.Header, content *io.SectionReader) error {
		if _, err := u.file(h, content); err != nil || !wanted(h.Name) {
			return err
		}
		f := entry{header: h}
		if h.Typeflag == tar.TypeReg {
			f.content = tree.Content{At: content, Size: h.Size}
		}
		u.files = append(u.files, f)
		return nil
	})
}
