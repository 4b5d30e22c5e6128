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
// make. Nothing is written for it.
func (s *stage) sameFile(ctx context.Context, at string, f types.File) error {
	is, err := s.dir.OpenFile(at, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = is.Close() }()
	c := &comparison{is: bufio.NewReader(is)}
	for _, r := range append([]types.Resource{f.Contents}, f.Append...) {
		if r.Source == nil || *r.Source == "" {
			continue
		}
		if err := s.early.get(ctx, r, c); err != nil && !c.differs {
			return err
		}
	}
	if c.differs || !c.atEnd() {
		return fmt.Errorf("another file %w", errExists)
	}
	return nil
}

// A comparison is written to what a file should have.
type comparison struct {
	is      *bufio.Reader
	buffer  [32 << 10]byte
	differs bool
}

var errDiffers = errors.New("it differs")

func (c *comparison) Write(want []byte) (int, error) {
	for done := 0; done < len(want); {
		part := want[done:min(len(want), done+len(c.buffer))]
		got := c.buffer[:len(part)]
		if _, err := io.ReadFull(c.is, got); err != nil || !bytes.Equal(got, part) {
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
