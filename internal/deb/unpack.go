package deb

import (
	"archive/tar"
	"errors"
	"io"
)

// Unpack gives fn each file of the .deb r, in the archive's order. Names are
// relative and clean ("usr/bin/x"), and so are hard links' targets; the entry
// of the root itself is left out. Symbolic links' targets are data, as written.
func Unpack(r io.Reader, fn func(*tar.Header, io.Reader) error) error {
	return errors.New("not yet")
}

// ReadControl gives the control paragraph of the .deb r.
func ReadControl(r io.Reader) (Paragraph, error) {
	return "", errors.New("not yet")
}

// A Paragraph is one stanza of a control file, as written (deb822(5)).
type Paragraph string
