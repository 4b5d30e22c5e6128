package files

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// sameFile refuses a file that is not, byte for byte, what the config would
// make, unless it is part of that and a run was cut off. Nothing is written for
// it.
func (s *stage) sameFile(ctx context.Context, at string, f types.File) (part bool, err error) {
	is, err := s.dir.OpenFile(at, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer func() { _ = is.Close() }()
	c := &comparison{is: bufio.NewReader(is)}
	for _, r := range append([]types.Resource{f.Contents}, f.Append...) {
		if r.Source == nil || *r.Source == "" {
			continue
		}
		if err := s.early.get(ctx, r, c); c.differs {
			break
		} else if err != nil {
			return false, err
		}
	}
	switch {
	case c.part && s.cut:
		return true, nil
	case c.differs || !c.atEnd():
		return false, fmt.Errorf("another file %w", errExists)
	}
	return false, nil
}

// A comparison is written to what a file should have.
type comparison struct {
	is      *bufio.Reader
	buffer  [32 << 10]byte
	differs bool
	part    bool // it differs in that it ends before
}

var errDiffers = errors.New("it differs")

func (c *comparison) Write(want []byte) (int, error) {
	for done := 0; done < len(want); {
		part := want[done:min(len(want), done+len(c.buffer))]
		got := c.buffer[:len(part)]
		if n, err := io.ReadFull(c.is, got); err != nil || !bytes.Equal(got, part) {
			c.part = (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && bytes.Equal(got[:n], part[:n])
			c.differs = true
			return done, errDiffers
		}
		done += len(part)
	}
	return len(want), nil
}

func (c *comparison) atEnd() bool {
	_, err := c.is.ReadByte()
	return errors.Is(err, io.EOF)
}
