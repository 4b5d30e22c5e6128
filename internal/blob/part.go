package blob

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/oci"
)

// A Part is a blob being received, over as many tries as it takes: what came
// is kept by Close, also when the process is killed, and found by the next
// OpenPart. It is a blob only when Commit found it whole.
type Part struct {
	path   string // empty: a file of our own, because another process has the usual one
	file   *os.File
	want   oci.Digest
	hash   hash.Hash
	offset int64
}

// A Resumer is a Store that keeps what was received of a blob.
type Resumer interface {
	// Resume gives the blob's Part, and the function that makes it a blob of
	// the store when all is there.
	Resume(d oci.Digest) (p *Part, commit func() error, err error)
}

// OpenPart opens the part at path of the blob d and reads what is there.
func OpenPart(path string, d oci.Digest) (*Part, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	p := &Part{path: path, want: d, hash: newHash(d)}
	var err error
	if p.file, err = atomicfile.TryLock(path); err == nil && p.file == nil {
		p.path = ""
		p.file, err = os.CreateTemp(filepath.Dir(path), ".tmp-*")
	}
	if err != nil {
		return nil, err
	}
	if p.offset, err = io.Copy(p.hash, p.file); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

func newHash(d oci.Digest) hash.Hash {
	if d.Algorithm() == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// Offset is how many bytes are there.
func (p *Part) Offset() int64 { return p.offset }

func (p *Part) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.offset += int64(n)
	return n, err
}

// Reset forgets what came.
func (p *Part) Reset() error {
	p.hash.Reset()
	p.offset = 0
	_, err := p.file.Seek(0, io.SeekStart)
	return errors.Join(err, p.file.Truncate(0))
}

// Commit gives a whole blob the name path. Bytes that are not what the digest
// names are forgotten, with a *MismatchError.
func (p *Part) Commit(path string, perm os.FileMode) error {
	got := oci.Digest(p.want.Algorithm() + ":" + hex.EncodeToString(p.hash.Sum(nil)))
	if got != p.want {
		return errors.Join(&MismatchError{Want: p.want, Got: got}, p.Reset())
	}
	if err := errors.Join(p.file.Chmod(perm), p.file.Sync()); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), path); err != nil {
		return err
	}
	p.path = path
	return atomicfile.SyncDir(filepath.Dir(path))
}

// Close lets go of the part; a part without a byte is removed.
func (p *Part) Close() error {
	if p.path == "" || p.offset == 0 {
		_ = os.Remove(p.file.Name())
	}
	return p.file.Close()
}

// abandoned is the age at which nobody will go on with a part.
const abandoned = 7 * 24 * time.Hour

// SweepParts removes the parts in dir that were abandoned.
func SweepParts(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(path)
		}
	}
}
