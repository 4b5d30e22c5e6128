package wiring

import (
	"context"
	"fmt"
	"io"

	"holdfast/internal/enc"
	"holdfast/internal/guest"
	"holdfast/internal/image/transport"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// An Unpacked image is a folder.
type Unpacked struct {
	Reference string     `json:"reference"`
	Digest    oci.Digest `json:"digest"` // of the manifest
	Layers    int        `json:"layers"`
	Dir       string     `json:"dir"`
}

// Unpack makes the folder dir, which must not be there, of an image's layers,
// as a guest does: each is verified, decrypted with one of the private keys in
// keyFiles, and applied, and the folder has its name when all of them were
// found genuine.
func Unpack(ctx context.Context, src transport.Ref, dir string, keyFiles []string, o transport.Options) (*Unpacked, error) {
	keys, err := readKeys(keyFiles)
	if err != nil {
		return nil, err
	}
	img, err := transport.Read(ctx, src, o)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	step := progress.Or(o.Progress).Start("unpack", int64(len(img.Layers)), progress.Items)
	if err := guest.Unpack(dir, layersOf(ctx, img, keys, step)); err != nil {
		step.Fail()
		return nil, fmt.Errorf("unpack %s: %w", src, err)
	}
	step.Done("")
	return &Unpacked{Reference: img.Reference, Digest: img.Digest, Layers: len(img.Layers), Dir: dir}, nil
}

// layersOf opens one layer after the other.
func layersOf(ctx context.Context, img *transport.Reader, keys []enc.Key, step progress.Step) func(func(io.Reader, error) bool) {
	return func(yield func(io.Reader, error) bool) {
		for i := range img.Layers {
			layer, err := img.Layer(ctx, i, keys...)
			if err != nil {
				yield(nil, err)
				return
			}
			ok := yield(layer, nil)
			_ = layer.Close()
			if !ok {
				return
			}
			step.Add(1)
		}
	}
}
