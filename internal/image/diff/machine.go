package diff

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/squashfs"
	"holdfast/internal/boot/verity"
	"holdfast/internal/image"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A machineImage is the folder of a machine image. What its files hold is
// compared, not what image.json says of them.
type machineImage struct{ *image.Machine }

func (m machineImage) Side() Side { return Side{m.Dir, Machine, m.Disk.Digest} }
func (machineImage) Close() error { return nil }

func (m machineImage) read(ctx context.Context, o Options) (*content, error) {
	c := newContent()
	c.part("name", m.Name)
	c.part("architecture", m.Architecture)
	c.part("date", m.Date.UTC().Format(time.RFC3339))
	c.part("recipe", string(m.Recipe))
	c.part("kernel", m.Kernel)
	c.part("root hash", m.RootHash)
	if err := m.uki(c); err != nil {
		return nil, err
	}
	if err := m.reference(c); err != nil {
		return nil, err
	}
	f, err := os.Open(m.DiskPath())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	step := o.Progress.Start("read "+m.Dir, 2*info.Size(), progress.Bytes)
	err = c.disk(reading{ctx, f, step}, info.Size())
	if err != nil {
		step.Fail()
		return nil, err
	}
	step.Done("")
	c.collectPackages()
	return c, nil
}

// reading moves a step by what is read, and ends when its context does.
type reading struct {
	ctx  context.Context
	r    io.ReaderAt
	step progress.Step
}

func (r reading) ReadAt(p []byte, at int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.ReadAt(p, at)
	r.step.Add(int64(n))
	return n, err
}

// disk takes a disk apart. What cannot be read for what it should be is told
// as such: that, too, is a difference.
func (c *content) disk(r reading, size int64) error {
	if err := c.hashed("disk", r, 0, size); err != nil {
		return err
	}
	table, err := gpt.Read(r, size)
	if err != nil {
		return c.unreadable(r, "GPT", err)
	}
	c.part("GPT disk", table.GUID.String())
	for _, p := range table.Partitions {
		c.part("GPT partition "+p.Name, fmt.Sprintf("type %s, id %s, bytes %d to %d, attributes %#x",
			p.Type, p.GUID, p.Start, p.Start+p.Size, p.Attributes))
		if err := c.partition(r, p); err != nil {
			return err
		}
	}
	return nil
}

// unreadable tells a fault of the image, and returns any other.
func (c *content) unreadable(r reading, name string, err error) error {
	if ended := r.ctx.Err(); ended != nil {
		return ended
	}
	var disk *os.PathError
	if errors.As(err, &disk) {
		return err
	}
	c.part(name, "unreadable: "+err.Error())
	return nil
}

func (c *content) partition(r reading, p gpt.Entry) error {
	if err := c.hashed("partition "+p.Name, r, p.Start, p.Size); err != nil {
		return err
	}
	section := io.NewSectionReader(r, p.Start, p.Size)
	var err error
	switch p.Name {
	case "esp":
		err = c.esp(section)
	case "root":
		err = c.root(section)
	case "root-verity":
		err = c.hashTree(section)
	}
	if err != nil {
		return c.unreadable(r, "content of "+p.Name, err)
	}
	return nil
}

func (c *content) esp(r *io.SectionReader) error {
	return fat.Walk(r, func(name string, size int64, content io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, content); err != nil {
			return err
		}
		c.part("ESP file "+name, bytesOf(digestOf(h.Sum(nil)), size))
		return nil
	})
}

func (c *content) root(r io.ReaderAt) error {
	s, err := squashfs.Open(r)
	if err != nil {
		return err
	}
	c.part("squashfs", fmt.Sprintf("%s, blocks of %d bytes, made %s", s.Compression(), s.BlockSize(), unix(s.Time())))
	return s.Walk(func(f squashfs.File, content io.Reader) error {
		file := fileOf(f.Type, f.Mode, int(f.UID), int(f.GID), time.Unix(int64(f.Time), 0))
		file.Target, file.Xattrs = f.Target, f.Xattrs
		if file.Type == "char" || file.Type == "block" {
			file.Device = fmt.Sprintf("%d:%d", f.Major, f.Minor)
		}
		c.files[f.Path] = file
		if file.Type != "file" {
			return nil
		}
		return file.fill(f.Path, content)
	})
}

func unix(seconds uint32) string { return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339) }

func (c *content) hashTree(r io.Reader) error {
	s, err := verity.ReadSuperblock(r)
	if err != nil {
		return err
	}
	c.part("hash tree", fmt.Sprintf("id %s, %d data blocks, salt %x", s.UUID, s.DataBlocks, s.Salt))
	return nil
}

// hashed adds a range of the disk by its digest.
func (c *content) hashed(name string, r io.ReaderAt, start, size int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, start, size)); err != nil {
		return err
	}
	c.part(name, bytesOf(digestOf(h.Sum(nil)), size))
	return nil
}

func digestOf(sum []byte) oci.Digest { return oci.Digest("sha256:" + hex.EncodeToString(sum)) }

func isText(b []byte) bool {
	return len(b) < 4096 && !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && r != '\n' || r == '\uFFFD' })
}
