package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	store "holdfast/internal/blob"
	"holdfast/internal/oci"
	"holdfast/internal/resume"
)

// minPart is the size from which it is worth while to keep a part of a blob.
const minPart = 1 << 20

// receive brings a blob from a registry, going on with what an earlier try
// received. Nobody trusts that part: the whole is checked before it gets its
// name, and when it is not right all of it is fetched once more.
func (l *layoutWriter) receive(ctx context.Context, b blob, path string) error {
	d := oci.Digest(b.Digest)
	part, err := store.OpenPart(filepath.Join(l.parts, d.Hex()), d)
	if err != nil {
		return err
	}
	defer func() {
		_ = part.Close()
		_ = os.Remove(l.parts) // when it is empty
	}()
	pieces, err := fill(ctx, b, part, path)
	if err != nil && pieces && isWrong(err) {
		if err = part.Reset(); err == nil {
			_, err = fill(ctx, b, part, path)
		}
	}
	if err != nil && isWrong(err) {
		err = errors.Join(fmt.Errorf("%w: %w", ErrDigest, err), part.Reset())
	}
	return err
}

// isWrong tells errors that show bytes of something else.
func isWrong(err error) bool {
	var mismatch *store.MismatchError
	return errors.As(err, &mismatch) || errors.Is(err, errSize) || errors.Is(err, resume.ErrRange)
}

var errSize = errors.New("not as long as its descriptor says")

// fill reads the rest and gives the blob its name. It tells whether there
// were bytes of more than one answer.
func fill(ctx context.Context, b blob, part *store.Part, path string) (pieces bool, err error) {
	before := part.Offset()
	pieces = before > 0
	if before > b.Size {
		return pieces, errSize
	}
	if before < b.Size {
		r, err := b.rest(ctx, before)
		if err != nil {
			return pieces, err
		}
		defer r.Close()
		n, err := io.Copy(part, io.LimitReader(&interruptible{ctx, r}, b.Size-before+1))
		if err == nil && n != b.Size-before {
			err = errSize
		}
		if far, ok := r.ReadCloser.(*resume.Reader); ok {
			pieces = pieces || far.Resumed()
		}
		if err != nil {
			return pieces, err
		}
	}
	return pieces, part.Commit(path, 0o644)
}
