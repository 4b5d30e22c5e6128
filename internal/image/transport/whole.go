package transport

import (
	"context"
	"fmt"
	"io"

	"holdfast/internal/progress"
)

// Verify reads every byte of an image and holds it to its digests.
func Verify(ctx context.Context, src Ref, o Options) error {
	o = o.withDefaults()
	img, err := open(ctx, src, o)
	if err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	defer img.Close()
	todo := unique(img.blobs())
	step := o.Progress.Start("read "+src.String(), sum(todo), progress.Bytes)
	for _, desc := range todo {
		r, err := img.open(ctx, desc)
		if err == nil {
			_, err = io.Copy(io.Discard, progress.Reader(r, step))
			_ = r.Close()
		}
		if err != nil {
			step.Fail()
			return fmt.Errorf("read %s: %w", src, err)
		}
	}
	step.Done("")
	return nil
}
