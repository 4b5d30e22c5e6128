package wiring

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/broker/admin"
	"holdfast/internal/input"
	"holdfast/internal/keyprovider"
)

// KeyProvider has the broker wrap and unwrap the keys of others' images, with
// the administrator's key that broker was opened with. Clients may name files
// below keyDir; none when it is empty.
func KeyProvider(broker *admin.Client, keyDir string) keyprovider.Provider {
	p := keyprovider.Provider{Keys: keysAt{broker}, NewKID: newImageKID}
	if keyDir != "" {
		p.ReadKey = func(path string) ([]byte, error) { return readBelow(keyDir, path) }
	}
	return p
}

// newImageKID is where coco_keyprovider puts its keys, too.
func newImageKID() string { return kbsScheme + "default/image-kek/" + strings.ToLower(rand.Text()) }

// readBelow reads a key of a folder, by a path in it or the whole path.
func readBelow(dir, path string) ([]byte, error) {
	if filepath.IsAbs(path) {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, fmt.Errorf("%w: keypath: %.80q is not below the folder of keys", keyprovider.ErrDenied, path)
		}
		path = rel
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: keypath: %w", keyprovider.ErrDenied, err)
	}
	defer f.Close()
	return input.ReadAll(f, input.Key)
}

// keysAt are a broker's resources, by its administrator.
type keysAt struct{ broker *admin.Client }

func (k keysAt) Create(ctx context.Context, kid string, key []byte) error {
	if key == nil {
		key = make([]byte, kekSize)
		if _, err := rand.Read(key); err != nil {
			return err
		}
	}
	defer clear(key)
	err := k.broker.CreateResource(ctx, strings.TrimPrefix(kid, kbsScheme), key)
	if errors.Is(err, admin.ErrExist) {
		return nil
	}
	return err
}

func (k keysAt) Wrap(ctx context.Context, kid string, options []byte) (json.RawMessage, error) {
	return k.broker.WrapKey(ctx, strings.TrimPrefix(kid, kbsScheme), options)
}

func (k keysAt) Unwrap(ctx context.Context, packet json.RawMessage) ([]byte, error) {
	return k.broker.UnwrapKey(ctx, packet)
}

// ListenForKeys listens at unix:///PATH, which its owner alone can reach, or at
// an address of loopback, which every user of this machine can.
func ListenForKeys(address string) (l net.Listener, owner bool, err error) {
	path, owner := strings.CutPrefix(address, "unix://")
	if !owner {
		if !isLoopback(address) {
			return nil, false, fmt.Errorf("listen at %.80q: want unix:///PATH or an address of loopback, as 127.0.0.1:50000", address)
		}
		l, err = net.Listen("tcp", address)
		return l, false, err
	}
	if !filepath.IsAbs(path) {
		return nil, false, fmt.Errorf("listen at %.80q: want unix:///PATH, from the root on", address)
	}
	if err := forsaken(path); err != nil {
		return nil, false, err
	}
	l, err = listenUnix(path)
	return l, true, err
}

// forsaken removes a socket that nobody listens at any more, and nothing else.
func forsaken(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is there, and no socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		return errors.Join(&PortTakenError{Service: "key provider", Address: path}, c.Close())
	}
	return os.Remove(path)
}
