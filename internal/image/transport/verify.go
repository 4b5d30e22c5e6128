package transport

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
)

func newHash(d oci.Digest) hash.Hash {
	if d.Algorithm() == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// check compares a whole document to its descriptor.
func check(desc ocispec.Descriptor, raw []byte) error {
	want, err := oci.ParseDigest(string(desc.Digest))
	if err != nil {
		return err
	}
	h := newHash(want)
	h.Write(raw)
	if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex() {
		return fmt.Errorf("%w: want %s, got %.12s…", ErrDigest, want, got)
	}
	return nil
}

// verify lets r end in io.EOF only when it matched the descriptor.
func verify(r io.ReadCloser, desc ocispec.Descriptor) io.ReadCloser {
	want := oci.Digest(desc.Digest)
	return &verifier{r: r, want: want, hash: newHash(want), left: desc.Size}
}

type verifier struct {
	r    io.ReadCloser
	want oci.Digest
	hash hash.Hash
	left int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 {
		return 0, fmt.Errorf("%w: %s is longer than its descriptor says", ErrDigest, v.want)
	}
	switch {
	case err == nil:
		return n, nil
	case v.left > 0 && err == io.EOF:
		return 0, fmt.Errorf("%w: %s is %d bytes short", ErrDigest, v.want, v.left)
	case v.left > 0:
		return n, err
	}
	// The registry client checks too, and ends wrong bytes with an error of its own.
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Hex() {
		return 0, fmt.Errorf("%w: want %s, got %.12s…", ErrDigest, v.want, got)
	}
	return n, err
}

func (v *verifier) Close() error { return v.r.Close() }
