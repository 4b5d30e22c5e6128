package fetch

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/input"
)

// A sink decompresses, bounds and verifies what a server sends.
type sink struct {
	w     io.Writer
	gzip  bool
	hash  hash.Hash // nil: nothing to verify
	sum   []byte
	limit int64
}

func newSink(w io.Writer, r types.Resource, limit int64) (*sink, error) {
	s := &sink{w: w, limit: limit}
	if c := r.Compression; c != nil && *c != "" {
		if *c != "gzip" {
			return nil, fmt.Errorf("compression %.20q is unknown, want gzip", *c)
		}
		s.gzip = true
	}
	name, digits, err := r.Verification.HashParts()
	if err != nil || name == "" {
		return s, err
	}
	switch name {
	case "sha256":
		s.hash = sha256.New()
	case "sha512":
		s.hash = sha512.New()
	default:
		return nil, fmt.Errorf("hash %.20q is unknown, want sha256 or sha512", name)
	}
	s.sum, err = hex.DecodeString(digits)
	if err != nil || len(s.sum) != s.hash.Size() {
		return nil, fmt.Errorf("%s has %d hex digits, want %d", name, len(digits), 2*s.hash.Size())
	}
	return s, nil
}

func (s *sink) text(b []byte) error { return s.body(bytes.NewReader(b)) }

// body takes a whole body. The limit holds for what comes and for what it
// unpacks to.
func (s *sink) body(r io.Reader) error {
	r = &bounded{r, s.limit, s.limit}
	if s.gzip {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("gzip: %w", unpacked(err))
		}
		r = &bounded{&unpacker{z}, s.limit, s.limit}
	}
	w := s.w
	if s.hash != nil {
		w = io.MultiWriter(w, s.hash)
	}
	if _, err := io.Copy(w, r); err != nil {
		return input.HungUp(err)
	}
	return s.verify()
}

// An unpacker says what is wrong with what came, not with how.
type unpacker struct{ z *gzip.Reader }

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.z.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("gzip: %w", unpacked(err))
	}
	return n, err
}

// unpacked tells a stream that ends too soon from a server that does.
func unpacked(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return errors.New(strings.TrimPrefix(err.Error(), "gzip: "))
	}
	return input.Cut(err)
}

func (s *sink) verify() error {
	if s.hash == nil {
		return nil
	}
	if got := s.hash.Sum(nil); !bytes.Equal(got, s.sum) {
		return fmt.Errorf("%w: it is %x, the config says %x", ErrHash, got, s.sum)
	}
	return nil
}

// bounded is an error where io.LimitReader would be an end.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w of %d bytes", ErrTooLarge, b.limit)
	}
	return n, err
}
