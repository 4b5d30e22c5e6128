// Package cpio writes initramfs archives in the "newc" form of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
//
// Inode numbers count up and times are the caller's, so equal input gives
// equal bytes. Compression is the caller's too.
package cpio

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// File types of an Entry's Mode, as in stat(2).
const (
	TypeDir     = 0o040000
	TypeFile    = 0o100000
	TypeSymlink = 0o120000
	TypeChar    = 0o020000
	TypeBlock   = 0o060000
)

// An Entry is one file. Name is relative ("dev/console"); folders come before
// what they hold. A symlink's target is its Content.
type Entry struct {
	Name         string
	Mode         uint32 // type and permissions
	UID, GID     uint32
	Size         int64
	Content      io.Reader
	Major, Minor uint32 // of devices
}

// Dir is a folder of root's.
func Dir(name string, perm uint32) Entry { return Entry{Name: name, Mode: TypeDir | perm} }

// File is a file of root's.
func File(name string, perm uint32, size int64, content io.Reader) Entry {
	return Entry{Name: name, Mode: TypeFile | perm, Size: size, Content: content}
}

// Symlink is a link of root's.
func Symlink(name, target string) Entry {
	return Entry{Name: name, Mode: TypeSymlink | 0o777, Size: int64(len(target)), Content: strings.NewReader(target)}
}

// Char is a character device of root's.
func Char(name string, perm, major, minor uint32) Entry {
	return Entry{Name: name, Mode: TypeChar | perm, Major: major, Minor: minor}
}

// A Writer makes one archive. After an error it must not be used again.
type Writer struct {
	w     io.Writer
	mtime uint32
	inode uint32
	seen  map[string]bool
}

// NewWriter starts an archive whose entries all have the given time.
func NewWriter(w io.Writer, mtime time.Time) *Writer {
	return &Writer{w: w, mtime: uint32(mtime.Unix()), seen: map[string]bool{}}
}

// Add appends an entry.
func (w *Writer) Add(e Entry) error {
	if err := w.check(e); err != nil {
		return fmt.Errorf("cpio: %q: %w", e.Name, err)
	}
	w.seen[e.Name] = true
	w.inode++
	if err := w.write(e, w.inode, w.mtime); err != nil {
		return fmt.Errorf("cpio: %q: %w", e.Name, err)
	}
	return nil
}

func (w *Writer) check(e Entry) error {
	dir, _, nested := cutLast(e.Name)
	switch {
	case e.Name == "" || strings.HasPrefix(e.Name, "/") || strings.ContainsRune(e.Name, 0):
		return fmt.Errorf("not a relative name")
	case w.seen[e.Name]:
		return fmt.Errorf("added twice")
	case nested && !w.seen[dir]:
		return fmt.Errorf("its folder must come before it")
	case e.Size < 0 || e.Size > math.MaxUint32:
		return fmt.Errorf("%d bytes do not fit", e.Size)
	case e.Size > 0 && e.Content == nil:
		return fmt.Errorf("has a size but no content")
	}
	return nil
}

func cutLast(name string) (dir, base string, nested bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

const headerSize = 110

func (w *Writer) write(e Entry, inode, mtime uint32) error {
	links := 1
	if e.Mode&0o170000 == TypeDir {
		links = 2
	}
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, e.Mode, e.UID, e.GID, links, mtime, e.Size, 0, 0, e.Major, e.Minor, len(e.Name)+1, 0, e.Name)
	if _, err := io.WriteString(w.w, header+padding(int64(headerSize+len(e.Name)+1))); err != nil {
		return err
	}
	if e.Size == 0 {
		return nil
	}
	if n, err := io.CopyN(w.w, e.Content, e.Size); err != nil {
		return fmt.Errorf("content ends after %d of %d bytes: %w", n, e.Size, err)
	}
	_, err := io.WriteString(w.w, padding(e.Size))
	return err
}

// padding completes n bytes to a multiple of four.
func padding(n int64) string { return "\x00\x00\x00"[:-n&3] }

// Close ends the archive; it does not close the underlying writer.
func (w *Writer) Close() error {
	return w.write(Entry{Name: "TRAILER!!!"}, 0, 0)
}
