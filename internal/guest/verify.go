package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"holdfast/internal/oci"
)

// A DigestError says that bytes are not the ones that were named.
type DigestError struct{ Got, Want oci.Digest }

func (e *DigestError) Error() string {
	return fmt.Sprintf("digest is %s, expected %s: altered in the registry or on the way", e.Got, e.Want)
}

// verify returns a reader that ends in io.EOF only when r had exactly the
// bytes that digest and size name.
//
// The digest of the uncompressed layer, which the config also names, is not
// taken: the manifest pins the compressed bytes already, and hashing is dear
// where the processor is emulated.
func verify(r io.Reader, digest oci.Digest, size int64) io.Reader {
	return &verifier{r: io.LimitReader(r, size+1), hash: sha256.New(), want: digest, left: size}
}

type verifier struct {
	r    io.Reader
	hash hash.Hash
	want oci.Digest
	left int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if err != io.EOF && v.left >= 0 {
		return n, err
	}
	got := oci.Digest("sha256:" + hex.EncodeToString(v.hash.Sum(nil)))
	switch {
	case v.left > 0:
		return n, fmt.Errorf("%d bytes are missing: %w", v.left, io.ErrUnexpectedEOF)
	case v.left < 0:
		return 0, errors.New("it is longer than the manifest says")
	case got != v.want:
		return 0, &DigestError{Got: got, Want: v.want}
	}
	return n, io.EOF
}
