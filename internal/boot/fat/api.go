// Package fat writes FAT file systems in one go.
//
// All files are known beforehand, so each lies in one piece and the image is
// streamed from its first byte to its last; equal input gives equal bytes.
package fat

import (
	"errors"
	"io"
	"time"
)

// A File to be stored; its folders come into being by its path.
type File struct {
	Path    string // EFI/BOOT/BOOTX64.EFI
	Size    int64
	Content io.Reader
}

// A Volume is what Write makes.
type Volume struct {
	Label string    // at most 11 characters, upper case
	ID    uint32    // the volume serial number
	Time  time.Time // of every file
	Size  int64     // bytes; 0 takes what the files need
	Files []File
}

// ImageSize is the size that Write will produce.
func (v Volume) ImageSize() (int64, error) { return 0, errors.New("not built") }

// Write streams the image.
func Write(w io.Writer, v Volume) error { return errors.New("not built") }
