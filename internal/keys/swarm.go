package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// SwarmFile is where the key of the private swarm lies, within the folder.
const SwarmFile = "swarm.key"

// A SwarmKey is what the nodes of a private swarm share: without it a node
// can neither ask the others nor understand them.
type SwarmKey [32]byte

// ErrOtherSwarm says that the installation is in a swarm already.
var ErrOtherSwarm = errors.New("there is another swarm key")

// The lines of a key file, as IPFS implementations write it.
// https://github.com/libp2p/specs/blob/master/pnet/Private-Networks-PSK-V1.md
const (
	swarmHeader = "/key/swarm/psk/1.0.0/"
	swarmHex    = "/base16/"
	swarmBase64 = "/base64/"
	swarmRaw    = "/bin/"
)

// ParseSwarmKey reads a key file.
func ParseSwarmKey(raw []byte) (SwarmKey, error) {
	header, rest, _ := bytes.Cut(raw, []byte("\n"))
	encoding, body, _ := bytes.Cut(rest, []byte("\n"))
	if strings.TrimRight(string(header), "\r") != swarmHeader {
		return SwarmKey{}, fmt.Errorf("not a swarm key: the first line is not %s", swarmHeader)
	}
	var key []byte
	var err error
	switch text := strings.TrimSpace(string(body)); strings.TrimRight(string(encoding), "\r") {
	case swarmHex:
		key, err = hex.DecodeString(text)
	case swarmBase64:
		key, err = base64.StdEncoding.DecodeString(text)
	case swarmRaw:
		key = body
	default:
		err = fmt.Errorf("the second line is not %s, %s or %s", swarmHex, swarmBase64, swarmRaw)
	}
	if err != nil || len(key) != len(SwarmKey{}) {
		return SwarmKey{}, errors.Join(errors.New("not a swarm key: want 32 bytes after two lines of header"), err)
	}
	return SwarmKey(key), nil
}

// Marshal is the key as a file.
func (k SwarmKey) Marshal() []byte {
	return fmt.Appendf(nil, "%s\n%s\n%x\n", swarmHeader, swarmHex, k[:])
}

// String and LogValue keep the key out of messages.
func (SwarmKey) String() string       { return "swarm key" }
func (SwarmKey) LogValue() slog.Value { return slog.StringValue("swarm key") }

// Swarm is the key of the installation's private swarm, made when there is
// none: a swarm of one, until others have the key, too.
func (r *Ring) Swarm(ctx context.Context) (SwarmKey, error) {
	key, err := r.readSwarm()
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	unlock, err := atomicfile.Lock(ctx, r.dir+".lock")
	if err != nil {
		return SwarmKey{}, err
	}
	defer unlock()
	if key, err = r.readSwarm(); !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if _, err := rand.Read(key[:]); err != nil {
		return SwarmKey{}, err
	}
	return key, r.writeSwarm(key)
}

// JoinSwarm makes key the installation's. It fails with ErrOtherSwarm when
// there is another, unless that may be replaced.
func (r *Ring) JoinSwarm(ctx context.Context, key SwarmKey, replace bool) error {
	unlock, err := atomicfile.Lock(ctx, r.dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	switch have, err := r.readSwarm(); {
	case err == nil && have == key:
		return nil
	case err == nil && !replace:
		return fmt.Errorf("%s: %w", filepath.Join(r.dir, SwarmFile), ErrOtherSwarm)
	case err != nil && !replace && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return r.writeSwarm(key)
}

func (r *Ring) readSwarm() (SwarmKey, error) {
	path := filepath.Join(r.dir, SwarmFile)
	raw, err := input.ReadFile(path, input.Key)
	if err != nil {
		return SwarmKey{}, err
	}
	key, err := ParseSwarmKey(raw)
	if err != nil {
		return SwarmKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func (r *Ring) writeSwarm(key SwarmKey) error {
	return atomicfile.WriteFile(filepath.Join(r.dir, SwarmFile), key.Marshal(), 0o600)
}
