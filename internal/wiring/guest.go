package wiring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/atomicfile"
	"holdfast/internal/image"
	"holdfast/internal/image/recipe"
	"holdfast/internal/input"
	"holdfast/internal/keys"
)

// machineImage is the guest to boot: a built one as it is, or a recipe's,
// which is built into the installation unless that was done already.
func (s *session) machineImage(ctx context.Context) (*image.Machine, error) {
	if isBuilt(s.Guest) {
		return image.ReadMachine(s.Guest)
	}
	if info, err := os.Stat(s.Guest); err == nil && info.IsDir() && !isRecipe(s.Guest) {
		return nil, fmt.Errorf("machine image %s: neither image.json nor recipe.yaml is in it", s.Guest)
	}
	return s.Builder.Guest(ctx, s.Guest, s.ring)
}

// isBuilt tells the folder of a machine image.
func isBuilt(path string) bool {
	_, err := os.Lstat(filepath.Join(path, "image.json"))
	return err == nil
}

// Guest gives the machine image of the recipe at path, built into the
// installation when it is absent or was made from something else.
func (b Builder) Guest(ctx context.Context, path string, ring *keys.Ring) (*image.Machine, error) {
	r, err := recipe.Load(path)
	if err != nil {
		return nil, fmt.Errorf("machine image: %w", err)
	}
	unlock, err := atomicfile.Lock(ctx, b.Installation.Lock("image-"+r.Name))
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := b.Installation.Image(r.Name)
	inputs, err := b.inputs(r, ring)
	if err != nil {
		return nil, err
	}
	if made, err := input.ReadFile(dir+".inputs", input.Key); err == nil && string(made) == inputs {
		return image.ReadMachine(dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	var m *image.Machine
	err = b.Fresh(ctx, path, func(l LockedRecipe) error {
		m, err = b.Machine(ctx, l, dir, ring)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m, atomicfile.WriteFile(dir+".inputs", []byte(inputs), 0o600)
}

// inputs stands for all that a machine image of this installation is made
// from: recipe, lock, keys and the node program that was built beside this
// one.
func (b Builder) inputs(r *recipe.Recipe, ring *keys.Ring) (string, error) {
	h := sha256.New()
	digest, err := r.Digest()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, "v2", digest)
	h.Write(ring.Pair(keys.DB).Certificate.Raw)
	for _, file := range []string{r.LockPath(), b.Node} {
		if err := hashFile(h, file); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || path == "" {
		_, err = fmt.Fprintln(w, "absent")
		return err
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
