package deb

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Flatten writes what Read gives of the .deb r without its compression, for
// ReadFlat: the length of the control paragraph, 64 bits, little-endian; the
// paragraph; and the tar of the files as it is. It reads r to its end.
func Flatten(w io.Writer, r io.Reader) error {
	control, data, err := parts(r)
	if err != nil {
		return err
	}
	defer data.Close()
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(control))), control...)); err != nil {
		return err
	}
	limited := &io.LimitedReader{R: data, N: maxUnpacked}
	if _, err := io.Copy(w, limited); err != nil {
		return fmt.Errorf("data.tar: %w", err)
	}
	if limited.N == 0 {
		return fmt.Errorf("data.tar: more than %d bytes", int64(maxUnpacked))
	}
	return errors.Join(data.Close(), drain(r))
}

// ReadFlat is Read of what Flatten wrote. The content of a regular file is
// given as a part of r, which can be read for as long as r can.
func ReadFlat(r *io.SectionReader, control func(Paragraph) error, fn func(*tar.Header, *io.SectionReader) error) error {
	var head [8]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return cut(err)
	}
	size := binary.LittleEndian.Uint64(head[:])
	if size > maxControl || int64(size) > r.Size()-int64(len(head)) {
		return errors.New("the control paragraph is longer than all")
	}
	text := make([]byte, size)
	if _, err := r.ReadAt(text, int64(len(head))); err != nil && err != io.EOF {
		return err
	}
	if err := control(Paragraph(text)); err != nil {
		return err
	}
	data := io.NewSectionReader(r, int64(len(head)+len(text)), r.Size())
	err := eachFile(data, func(h *tar.Header, _ io.Reader) error {
		at, err := data.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		return fn(h, io.NewSectionReader(data, at, h.Size))
	})
	if err != nil {
		return fmt.Errorf("data.tar: %w", err)
	}
	return nil
}
