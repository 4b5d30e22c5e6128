package blob

import (
	"context"
	"io"

	"holdfast/internal/atomicfile"
	"holdfast/internal/oci"
)

// WriteFile writes what r holds to the file at path, synced, as one step: a
// reader that fails, a context that ends and bytes that d does not name
// (*MismatchError) leave nothing.
func WriteFile(ctx context.Context, path string, d oci.Digest, r io.Reader) error {
	checked, err := NewReader(d, Until(ctx, r))
	if err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, checked)
		return err
	})
}

// Until returns r, which fails once ctx has ended.
func Until(ctx context.Context, r io.Reader) io.Reader { return &cancellable{ctx, r} }

type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
