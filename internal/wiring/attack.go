package wiring

import (
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/image/transport"
)

// An Attack plays the attacker at the registry in demonstrations and tests: it
// may change what lies there, after the image came in. The command line's run
// has none.
type Attack func(dir string, layers []transport.Layer) error

// FlipLayerByte changes one byte in the middle of the first layer.
func FlipLayerByte(dir string, layers []transport.Layer) error {
	if len(layers) == 0 {
		return fmt.Errorf("%s: the image has no layer", dir)
	}
	path, err := findBlob(dir, layers[0].Digest.Hex())
	if err != nil {
		return err
	}
	return flipByte(path, layers[0].Size/2)
}

func findBlob(dir, hex string) (found string, err error) {
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == hex {
			found = path
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("%s: no blob %s", dir, hex)
	}
	return found, err
}

// flipByte inverts the byte of the file at offset.
func flipByte(path string, offset int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		return err
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, offset); err != nil {
		return err
	}
	return f.Close()
}
