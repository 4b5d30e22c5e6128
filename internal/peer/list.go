package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// A List is a file of the peers to stay connected to: an address a line, and
// comments behind #.
type List string

// Read gives the addresses; there are none when there is no file.
func (l List) Read() ([]string, error) {
	raw, err := input.ReadFile(string(l), input.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := parseList(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", string(l), err)
	}
	return list, nil
}

func parseList(raw []byte) ([]string, error) {
	var list []string
	for line := range strings.Lines(string(raw)) {
		address, _, _ := strings.Cut(line, "#")
		if address = strings.TrimSpace(address); address == "" {
			continue
		}
		if _, err := ParseAddress(address); err != nil {
			return nil, err
		}
		list = append(list, address)
	}
	return list, nil
}

// Add writes an address down, unless it is there.
func (l List) Add(ctx context.Context, address string) error {
	if _, err := ParseAddress(address); err != nil {
		return err
	}
	return l.change(ctx, func(raw []byte) ([]byte, error) {
		if list, err := parseList(raw); err != nil || slices.Contains(list, address) {
			return raw, err
		}
		if len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\n")) {
			raw = append(raw, '\n')
		}
		return append(raw, address+"\n"...), nil
	})
}

// Remove strikes all addresses of a peer out, or wraps ErrUnknownPeer.
func (l List) Remove(ctx context.Context, id string) error {
	p, err := peer.Decode(id)
	if err != nil {
		return fmt.Errorf("peer %.80q: want its ID, as 12D3Koo…", id)
	}
	return l.change(ctx, func(raw []byte) ([]byte, error) {
		var kept []byte
		for line := range bytes.Lines(raw) {
			address, _, _ := strings.Cut(string(line), "#")
			if info, err := ParseAddress(strings.TrimSpace(address)); err != nil || info.ID != p {
				kept = append(kept, line...)
			}
		}
		if len(kept) == len(raw) {
			return nil, fmt.Errorf("%s: %w", p, ErrUnknownPeer)
		}
		return kept, nil
	})
}

func (l List) change(ctx context.Context, edit func([]byte) ([]byte, error)) error {
	unlock, err := atomicfile.Lock(ctx, string(l)+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	raw, err := input.ReadFile(string(l), input.Document)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if raw, err = edit(raw); err != nil {
		return err
	}
	return atomicfile.WriteFile(string(l), raw, os.FileMode(0o600))
}
