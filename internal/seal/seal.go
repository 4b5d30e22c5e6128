// Package seal keeps secrets unreadable at rest.
//
// A secret is sealed with a data key, and the data key is wrapped by a master
// key that is kept elsewhere: in a file that only its owner reads, in a TPM, or
// in an HSM that never gives it out. A data key that was unwrapped once stays in
// locked memory, so that a slow master is asked once for each data key and not
// once for each read. An envelope opens under the name that it was sealed for
// and no other, and each says which master it needs: when that one is lost the
// error names it, and nothing is changed.
//
// Format: docs/formats/sealed-envelope.md.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// Errors that a caller may branch on.
var (
	// ErrFormat says that bytes are no envelope, or a damaged one.
	ErrFormat = errors.New("not a sealed envelope")
	// ErrUnknownMaster says that an envelope needs a master that is not here.
	ErrUnknownMaster = errors.New("master key is not here")
	// ErrAltered says that an envelope was altered, or sealed for another name.
	ErrAltered = errors.New("sealed envelope was altered, or is another name's")
	// ErrWrongMaster says that a master is not the key that its record was made for.
	ErrWrongMaster = errors.New("it is not the key that it was made with")
)

const (
	keySize = 32
	// maxUses bounds what one data key seals with random 96-bit nonces, far
	// below the 2³² of NIST SP 800-38D, section 8.3.
	maxUses = 1 << 20
)

// An ID names one master key: 16 random bytes, fixed when it was made.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(id) {
		return fmt.Errorf("master %.40q: want %d hex digits", text, 2*len(id))
	}
	copy(id[:], raw)
	return nil
}

// A Master wraps data keys of 32 bytes. Its methods may be called from several
// goroutines.
type Master interface {
	Wrap(ctx context.Context, key []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// Masters are the master keys at hand; a Ring is.
type Masters interface {
	// Current is the one that new data keys are wrapped by.
	Current(ctx context.Context) (ID, Master, error)
	// Master is the one called id, or ErrUnknownMaster.
	Master(ctx context.Context, id ID) (Master, error)
}

// A Sealer seals and opens. Its methods may be called from several goroutines.
type Sealer struct {
	masters Masters
	keys    *vault
	asking  chan struct{} // held by whoever asks a master
	mu      sync.Mutex
	fresh   dataKey // guarded by mu: what Seal uses
}

// A dataKey is one that the vault holds.
type dataKey struct {
	master  ID
	wrapped []byte
	uses    int
}

// New returns a Sealer. It asks no master yet.
func New(m Masters) *Sealer {
	return &Sealer{masters: m, keys: newVault(dataKeys), asking: make(chan struct{}, 1)}
}

// Close wipes all data keys. The Sealer is of no use afterwards.
func (s *Sealer) Close() error { return s.keys.close() }

// Seal encrypts plain for the name that it will be opened by.
func (s *Sealer) Seal(ctx context.Context, name string, plain []byte) ([]byte, error) {
	e, aead, err := s.dataKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	_, _ = rand.Read(e.nonce[:]) // never returns an error
	return aead.Seal(e.bytes(), e.nonce[:], plain, e.bound(name)), nil
}

// Open returns what was sealed for name.
func (s *Sealer) Open(ctx context.Context, name string, sealed []byte) ([]byte, error) {
	e, box, err := parse(sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	aead, err := s.unwrapped(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	plain, err := aead.Open(nil, e.nonce[:], box, e.bound(name))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, ErrAltered)
	}
	return plain, nil
}

// Stale says whether sealed rests on another master than Seal uses now, so that
// opening it and sealing it again would free it from an old one.
func (s *Sealer) Stale(ctx context.Context, sealed []byte) (bool, error) {
	e, _, err := parse(sealed)
	if err != nil {
		return false, err
	}
	current, _, err := s.masters.Current(ctx)
	return e.master != current, err
}

// dataKey returns the head of a new envelope and its key.
func (s *Sealer) dataKey(ctx context.Context) (envelope, cipher.AEAD, error) {
	id, master, err := s.masters.Current(ctx)
	if err != nil {
		return envelope{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh.master == id && s.fresh.wrapped != nil && s.fresh.uses < maxUses {
		if aead, ok := s.keys.get(digest(id, s.fresh.wrapped)); ok {
			s.fresh.uses++
			return envelope{master: id, wrapped: s.fresh.wrapped}, aead, nil
		}
	}
	key := make([]byte, keySize)
	defer clear(key)
	_, _ = rand.Read(key)
	wrapped, err := master.Wrap(ctx, key)
	if err == nil && len(wrapped) > maxWrapped {
		err = fmt.Errorf("it wraps a key in %d bytes, expected at most %d", len(wrapped), maxWrapped)
	}
	if err != nil {
		return envelope{}, nil, fmt.Errorf("master %s: %w", id, err)
	}
	s.fresh = dataKey{master: id, wrapped: wrapped, uses: 1}
	aead, err := s.keys.put(digest(id, wrapped), key)
	return envelope{master: id, wrapped: wrapped}, aead, err
}

// unwrapped returns the key of an envelope, asking its master at most once.
func (s *Sealer) unwrapped(ctx context.Context, e envelope) (cipher.AEAD, error) {
	name := digest(e.master, e.wrapped)
	if aead, ok := s.keys.get(name); ok {
		return aead, nil
	}
	master, err := s.masters.Master(ctx, e.master)
	if err != nil {
		return nil, err
	}
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if aead, ok := s.keys.get(name); ok {
		return aead, nil
	}
	key, err := master.Unwrap(ctx, e.wrapped)
	if err != nil {
		return nil, fmt.Errorf("master %s: %w", e.master, err)
	}
	defer clear(key)
	if len(key) != keySize {
		return nil, fmt.Errorf("master %s: it unwrapped %d bytes, expected %d", e.master, len(key), keySize)
	}
	return s.keys.put(name, key)
}

func digest(id ID, wrapped []byte) [sha256.Size]byte {
	return sha256.Sum256(append(id[:], wrapped...))
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
