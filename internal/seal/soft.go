package seal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
)

// A soft master is one whose key this process holds.
type soft struct {
	id  ID
	key *vault // of one key
}

// Soft is the master whose 32 bytes are key, which it copies to locked memory.
func Soft(id ID, key []byte) (Master, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("a master key has %d bytes, expected %d", len(key), keySize)
	}
	m := &soft{id: id, key: newVault(1)}
	_, err := m.key.put(m.name(), key)
	return m, err
}

func (m *soft) name() (n [32]byte) { copy(n[:], m.id[:]); return n }

// WrapContext is the additional data of every wrapped data key.
func WrapContext(id ID) []byte { return append([]byte("holdfast data key\x00"), id[:]...) }

func (m *soft) Wrap(_ context.Context, key []byte) ([]byte, error) {
	aead, ok := m.key.get(m.name())
	if !ok {
		return nil, errClosed
	}
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce)
	return aead.Seal(nonce, nonce, key, WrapContext(m.id)), nil
}

func (m *soft) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	aead, ok := m.key.get(m.name())
	if !ok {
		return nil, errClosed
	}
	if len(wrapped) < nonceSize {
		return nil, ErrWrongMaster
	}
	key, err := aead.Open(nil, wrapped[:nonceSize], wrapped[nonceSize:], WrapContext(m.id))
	if err != nil {
		return nil, ErrWrongMaster
	}
	return key, nil
}

// Close wipes the key.
func (m *soft) Close() error { return m.key.close() }

// FileKind keeps the master key itself in the ring's folder.
const FileKind = "file"

// inFile is the Provider of masters that are kept in files.
type inFile struct{}

type fileParams struct {
	Key []byte `json:"key"`
}

func (inFile) Make(context.Context, ID, json.RawMessage) (json.RawMessage, error) {
	key := make([]byte, keySize)
	defer clear(key)
	_, _ = rand.Read(key)
	return json.Marshal(fileParams{key})
}

func (inFile) Open(_ context.Context, id ID, raw json.RawMessage) (Master, error) {
	var p fileParams
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("the file holds no key: %w", err)
	}
	defer clear(p.Key)
	return Soft(id, p.Key)
}
