package diff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"holdfast/internal/image"
	"holdfast/internal/image/transport"
)

// Open finds the image that a person names: the folder of a machine image, or
// an OCI image as transport.Parse reads it.
func Open(ctx context.Context, name string, o Options) (Image, error) {
	m, err := image.ReadMachine(name)
	if err == nil {
		return machineImage{m}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	ref, err := transport.Parse(name)
	if err != nil {
		return nil, err
	}
	return OpenOCI(ctx, ref, o)
}

// OpenMachine reads a machine image's folder.
func OpenMachine(m *image.Machine) Image { return machineImage{m} }

// OpenOCI opens a container image.
func OpenOCI(ctx context.Context, ref transport.Ref, o Options) (Image, error) {
	r, err := transport.Read(ctx, ref, o.Transport)
	if err != nil {
		return nil, err
	}
	return ociImage{r}, nil
}

// Images opens and compares two images.
func Images(ctx context.Context, a, b string, o Options) (*Report, error) {
	x, err := Open(ctx, a, o)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	y, err := Open(ctx, b, o)
	if err != nil {
		return nil, err
	}
	defer y.Close()
	return Compare(ctx, x, y, o)
}
