// Package derived keeps what was made of inputs, under a key that names all of
// them, so that it is made once.
//
// What a cache gives is what was put into it, or nothing: a flipped byte, a
// file that was cut off and a file under another's name are as if nothing was
// there. It is bounded, and nothing in it is ever needed.
package derived

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
)

// A Key names everything that decides what is made.
type Key [sha256.Size]byte

// KeyOf names a kind of thing, with the version of how it is made, and its
// inputs. No two lists have one key.
func KeyOf(kind string, inputs ...string) Key {
	h := sha256.New()
	for _, s := range append([]string{kind}, inputs...) {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
		_, _ = io.WriteString(h, s)
	}
	return Key(h.Sum(nil))
}

// A Cache is a folder with a file for each key: what was put, and behind it
// the SHA-256 of the key with that. A nil Cache keeps nothing. Several
// processes may share one.
type Cache struct {
	dir   string
	limit int64
}

// New opens the folder dir as a cache, making it when it is absent. Prune
// holds it to limit bytes.
func New(dir string, limit int64) (*Cache, error) {
	return &Cache{dir, limit}, os.MkdirAll(dir, 0o700)
}

// An Entry is something kept. It stays readable until Close, whatever happens
// to the cache meanwhile.
type Entry struct {
	*io.SectionReader
	file *os.File
}

// Close lets go of the entry.
func (e *Entry) Close() error { return e.file.Close() }

func (c *Cache) path(k Key) string { return filepath.Join(c.dir, hex.EncodeToString(k[:])) }

// Open gives what was kept under k, every byte of it checked, or nil. What is
// damaged is removed.
func (c *Cache) Open(k Key) *Entry {
	if c == nil {
		return nil
	}
	f, err := os.Open(c.path(k))
	if err != nil {
		return nil
	}
	size, err := verify(k, f)
	if err != nil {
		_ = os.Remove(f.Name())
		_ = f.Close()
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(f.Name(), now, now) // used: Prune takes what was not
	return &Entry{io.NewSectionReader(f, 0, size), f}
}

var errDamaged = errors.New("damaged")

// verify reads the file of k and gives how many bytes were put into it.
func verify(k Key, f *os.File) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if size = info.Size() - sha256.Size; size < 0 {
		return 0, errDamaged
	}
	sum := begin(k)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.LimitReader(f, size), make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(f, want[:]); err != nil {
		return 0, err
	}
	if !bytes.Equal(sum.Sum(nil), want[:]) {
		return 0, errDamaged
	}
	return size, nil
}

func begin(k Key) hash.Hash {
	sum := sha256.New()
	sum.Write(k[:])
	return sum
}

// Put keeps what fill writes. It has its name only when it is whole; it is not
// synced, because a crash can do it no harm that Open would not see.
func (c *Cache) Put(k Key, fill func(io.Writer) error) error {
	if c == nil {
		return nil
	}
	f, err := atomicfile.Create(c.path(k), 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	sum := begin(k)
	if err := fill(io.MultiWriter(f, sum)); err != nil {
		return err
	}
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return f.CommitUnsynced()
}
