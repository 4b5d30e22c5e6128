// Package fat writes FAT file systems in one go.
//
// All files are known beforehand, so each lies in one piece and the image is
// streamed from its first byte to its last; equal input gives equal bytes.
// Up to 256 MiB it is FAT16, which firmware walks fastest, above FAT32.
package fat

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// A File to be stored; its folders come into being by its path.
type File struct {
	Path    string // EFI/BOOT/BOOTX64.EFI: case does not matter; 8.3 names become upper case
	Size    int64
	Content io.Reader
}

// A Volume is what Write makes.
type Volume struct {
	Label string    // at most 11 characters, upper case; may be empty
	ID    uint32    // the volume serial number
	Time  time.Time // of every file, 1980 to 2107
	Size  int64     // bytes; 0 takes what the files need
	Files []File
}

const sector = 512

// ImageSize is the size that Write will produce.
func (v Volume) ImageSize() (int64, error) {
	_, g, err := v.plan()
	return g.sectors * sector, err
}

// plan lays the tree out and finds a geometry that holds it.
func (v Volume) plan() (*node, geometry, error) {
	if y := v.Time.UTC().Year(); y < 1980 || y > 2107 {
		return nil, geometry{}, fmt.Errorf("FAT volume: year %d is not in 1980 to 2107", y)
	}
	if len(v.Label) > 11 {
		return nil, geometry{}, fmt.Errorf("FAT volume: label %q is longer than 11 characters", v.Label)
	}
	root, err := v.tree()
	if err != nil {
		return nil, geometry{}, err
	}
	g, err := v.geometry(root)
	if err != nil {
		return nil, geometry{}, fmt.Errorf("FAT volume: %w", err)
	}
	return root, g, nil
}

// Write streams the image.
func Write(w io.Writer, v Volume) error {
	root, g, err := v.plan()
	if err != nil {
		return err
	}
	chains := g.place(root)
	for _, part := range [][]byte{g.bootRegion(v), g.table(chains), g.table(chains)} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	d := directories{time: v.Time.UTC(), label: v.Label}
	if !g.fat32 {
		if _, err := w.Write(pad(d.bytes(root), int64(g.rootSectors*sector))); err != nil {
			return err
		}
	}
	used := int64(0)
	for _, n := range chains {
		if err := d.write(w, n, g); err != nil {
			return fmt.Errorf("FAT file %s: %w", n.name, err)
		}
		used += n.clusters
	}
	return zeros(w, (g.dataSectors()-used*g.perCluster)*sector)
}

// write streams one file or folder to the end of its last cluster.
func (d directories) write(w io.Writer, n *node, g geometry) error {
	content, size := n.content, n.size
	if n.dir {
		b := d.bytes(n)
		content, size = bytes.NewReader(b), int64(len(b))
	}
	if got, err := io.CopyN(w, content, size); err != nil {
		return fmt.Errorf("content ends after %d of %d bytes: %w", got, size, err)
	}
	return zeros(w, n.clusters*g.clusterSize()-size)
}

func zeros(w io.Writer, n int64) error {
	buf := make([]byte, 1<<16)
	for n > 0 {
		c := min(n, int64(len(buf)))
		if _, err := w.Write(buf[:c]); err != nil {
			return err
		}
		n -= c
	}
	return nil
}

func pad(b []byte, size int64) []byte {
	return append(b, make([]byte, size-int64(len(b)))...)
}
