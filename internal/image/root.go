package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/internal/boot/squashfs"
	"holdfast/internal/boot/verity"
	"holdfast/internal/image/tree"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A root is a squashfs without a name and the hash tree over it.
type root struct {
	*os.File
	size   int64
	digest oci.Digest
	verity *verity.Tree
}

// Hash is the verity root hash in hex.
func (r *root) Hash() string { return hex.EncodeToString(r.verity.Root[:]) }

// root composes the tree, makes a squashfs of it and hashes that.
func (m *machineBuild) root(ctx context.Context) (*root, error) {
	path := m.folder.path("root.squashfs")
	if err := m.squash(ctx, path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &root{File: f}
	if err := m.hash(ctx, r); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("verity: %w", err)
	}
	return r, os.Remove(path)
}

// squash writes the tree as a squashfs to path.
func (m *machineBuild) squash(ctx context.Context, path string) error {
	t, err := m.tree(ctx)
	if err != nil {
		return err
	}
	m.files = t
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	o := squashfs.Options{Date: m.Lock.Date}
	keep, err := m.keepBlocks(&o)
	if err != nil {
		return err
	}
	defer keep.close()
	step := m.Progress.Start("compress root", t.Size(), progress.Bytes)
	if err := pipe(t, f, o, meter{ctx, step}, m.Lock.Date); err != nil {
		step.Fail()
		return fmt.Errorf("squashfs: %w", err)
	}
	step.Done("")
	return keep.keep(m.opts.Blocks)
}

func (m *machineBuild) keepBlocks(o *squashfs.Options) (*blocks, error) {
	if m.opts.Blocks == "" {
		return nil, nil
	}
	b, err := openBlocks(m.opts.Blocks)
	if err != nil {
		return nil, fmt.Errorf("keep compressed blocks: %w", err)
	}
	o.Cache = b
	return b, nil
}

// pipe hands the tree as a tar stream to the writer of squashfs.
func pipe(t *tree.Tree, to io.WriterAt, o squashfs.Options, m meter, date time.Time) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(t.WriteTar(io.MultiWriter(w, m), date))
	}()
	_, err := squashfs.Write(m.ctx, to, r, o)
	_ = r.CloseWithError(err)
	<-done
	return err
}

// hash makes the hash tree. The salt comes from the recipe: it only has to
// differ between images, not to be secret.
func (m *machineBuild) hash(ctx context.Context, r *root) error {
	info, err := r.Stat()
	if err != nil {
		return err
	}
	r.size = info.Size()
	step := m.Progress.Start("hash root", r.size, progress.Bytes)
	salt, err := hex.DecodeString(m.Lock.Recipe.Hex())
	if err != nil {
		return err
	}
	sum := sha256.New()
	data := io.TeeReader(r.File, io.MultiWriter(sum, meter{ctx, step}))
	if r.verity, err = verity.Build(data, verity.Params{Salt: salt}); err != nil {
		step.Fail()
		return err
	}
	r.digest = sumOf(sum)
	step.Done(r.Hash()[:12])
	_, err = r.Seek(0, io.SeekStart)
	return err
}
