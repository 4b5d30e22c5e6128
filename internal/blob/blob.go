// Package blob keeps bytes by their hash.
//
// What a store gives is what the digest names, or an error: bytes are hashed
// on their way in and again on their way out, so a rotten disk is noticed by
// the reader and never believed.
package blob

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"holdfast/internal/oci"
)

// ErrNotFound is what Open wraps when the store has no such blob.
var ErrNotFound = errors.New("no such blob")

// A Store holds blobs. Its methods may be called by several goroutines and,
// where the store lies on a shared disk, by several processes.
type Store interface {
	// Has says whether the store has a blob of that name, without reading it.
	Has(ctx context.Context, d oci.Digest) (bool, error)
	// Open gives the blob's bytes. The Read that would have returned io.EOF
	// returns a *MismatchError instead when they are not what d names; the
	// store has then forgotten the blob.
	Open(ctx context.Context, d oci.Digest) (io.ReadCloser, error)
	// Put keeps what r holds under the name d, as one step: a reader that
	// fails, and bytes that d does not name (*MismatchError), leave nothing.
	Put(ctx context.Context, d oci.Digest, r io.Reader) error
}

// A MismatchError says that bytes are not those that a digest names.
type MismatchError struct{ Want, Got oci.Digest }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s is %s, want %s", e.Want.Algorithm(), e.Got.Hex(), e.Want.Hex())
}

// Verify reads the whole blob d of s and says whether it is what d names.
func Verify(ctx context.Context, s Store, d oci.Digest) error {
	r, err := s.Open(ctx, d)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// NewReader returns r, hashing what is read: where r ends, the result ends
// with io.EOF if d names what was read and with a *MismatchError if not.
func NewReader(d oci.Digest, r io.Reader) (io.Reader, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	return &reader{r: r, hash: newHash(d), want: d}, nil
}

type reader struct {
	r    io.Reader
	hash hash.Hash
	want oci.Digest
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.hash.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	got := oci.Digest(r.want.Algorithm() + ":" + hex.EncodeToString(r.hash.Sum(nil)))
	if got != r.want {
		return n, &MismatchError{Want: r.want, Got: got}
	}
	return n, io.EOF
}
