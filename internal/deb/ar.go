package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// arReader walks the members of an ar archive in the plain form that .deb
// files have (deb(5)): names of at most 16 bytes, no symbol table.
type arReader struct {
	r    io.Reader
	body *io.LimitedReader // what is left of the member
	pad  bool              // a newline follows it, to make its size even
}

const arMagic = "!<arch>\n"

var errNotDeb = errors.New("not a .deb file")

func newArReader(r io.Reader) (*arReader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil && !short(err) {
		return nil, err
	}
	if string(magic) != arMagic {
		return nil, errNotDeb
	}
	return &arReader{r: r, body: &io.LimitedReader{R: r}}, nil
}

// next gives the name of the next member, whose bytes are then read from
// a.body. io.EOF follows the last.
func (a *arReader) next() (string, error) {
	skip := a.body.N
	if a.pad {
		skip++
	}
	if n, err := io.CopyN(io.Discard, a.r, skip); err != nil && (err != io.EOF || n < a.body.N) {
		return "", cut(err)
	}
	var head [60]byte
	if _, err := io.ReadFull(a.r, head[:]); err != nil {
		if err == io.EOF {
			return "", io.EOF
		}
		return "", cut(err)
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(head[48:58]), " "), 10, 64)
	if err != nil || size < 0 || !bytes.Equal(head[58:], []byte("`\n")) {
		return "", fmt.Errorf("%w: bad member header %q", errNotDeb, head[:16])
	}
	a.body.N, a.pad = size, size%2 == 1
	return strings.TrimSuffix(strings.TrimRight(string(head[:16]), " "), "/"), nil
}

func short(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// cut names the end that came too early.
func cut(err error) error {
	if short(err) {
		return fmt.Errorf("cut off: %w", io.ErrUnexpectedEOF)
	}
	return err
}
