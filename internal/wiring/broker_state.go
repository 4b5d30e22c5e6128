package wiring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/broker"
	"holdfast/internal/broker/state"
	"holdfast/internal/input"
)

var _ broker.State = (*state.Store)(nil)

// stateWait is how long the state may take to open: another process may be
// bringing it up to date.
const stateWait = time.Minute

// openState opens what the installation's broker keeps.
func (i Installation) openState(log *slog.Logger) (*state.Store, error) {
	sealer, err := openSealer(filepath.Join(i.Keys(), "resources.sealing"))
	if err != nil {
		return nil, fmt.Errorf("open the key that seals resources: %w", err)
	}
	ctx, stop := context.WithTimeout(context.Background(), stateWait)
	defer stop()
	return state.Open(ctx, state.Config{Dir: i.Broker(), Sealer: sealer, Log: log})
}

// A fileSealer seals under a key in a file.
type fileSealer struct{ cipher.AEAD }

func (s fileSealer) Seal(_ context.Context, name string, plain []byte) ([]byte, error) {
	return s.AEAD.Seal(nil, nil, plain, []byte(name)), nil
}

func (s fileSealer) Open(_ context.Context, name string, sealed []byte) ([]byte, error) {
	plain, err := s.AEAD.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("resource %s: it was sealed under another key, or changed", name)
	}
	return plain, nil
}

// openSealer reads the key, or makes it. Linking, unlike renaming, lets only
// the first of two processes win.
func openSealer(path string) (fileSealer, error) {
	key, err := input.ReadFile(path, input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSealingKey(path); err == nil {
			key, err = input.ReadFile(path, input.Key)
		}
	}
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%s: has %d bytes, expected 32", path, len(key))
	}
	if err != nil {
		return fileSealer{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return fileSealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return fileSealer{aead}, err
}

func makeSealingKey(path string) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never returns an error since Go 1.24
	fresh := path + "." + rand.Text()
	if err := atomicfile.WriteFile(fresh, key, 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh) }()
	if err := os.Link(fresh, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}
