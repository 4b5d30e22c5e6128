package enc

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// A Key can unwrap packets of one annotation.
type Key interface {
	// Annotation names the annotation whose packets the key is for.
	Annotation() string
	// Unwrap opens one packet. A packet that is for somebody else is an error
	// too.
	Unwrap(ctx context.Context, packet []byte) (options []byte, err error)
}

// Unwrap finds the first packet in a layer's annotations that one of the keys
// opens. When all fail, the error tells each failure and wraps ErrNoKey.
func Unwrap(ctx context.Context, annotations map[string]string, keys ...Key) (Options, error) {
	public, err := ParsePublic(annotations[AnnotationOptions])
	if err != nil {
		return Options{}, err
	}
	failures := []error{}
	for _, key := range keys {
		packets, err := Packets(annotations[key.Annotation()])
		if err != nil {
			return Options{}, err
		}
		for _, packet := range packets {
			private, err := unwrapOne(ctx, key, packet)
			if err == nil {
				return Options{public, private}, nil
			}
			failures = append(failures, err)
		}
	}
	return Options{}, noKey(annotations, failures)
}

func unwrapOne(ctx context.Context, key Key, packet []byte) (PrivateOptions, error) {
	options, err := key.Unwrap(ctx, packet)
	if err != nil {
		return PrivateOptions{}, err
	}
	return ParsePrivate(options)
}

// noKey keeps a single failure readable and says for whom the key is wrapped
// when there was nothing to try.
func noKey(annotations map[string]string, failures []error) error {
	if len(failures) > 0 {
		return fmt.Errorf("%w: %w", ErrNoKey, errors.Join(failures...))
	}
	schemes := Schemes(annotations)
	if len(schemes) == 0 {
		return fmt.Errorf("%w: it is wrapped for nobody", ErrNoKey)
	}
	return fmt.Errorf("%w: it is wrapped by %s only", ErrNoKey, strings.Join(schemes, " and "))
}

// Decrypt returns the plaintext of r. Reading ends in io.EOF only when the
// MAC over everything read is good, in ErrMAC when it is not, and in r's own
// error when r fails: what was read before is worth nothing until io.EOF was
// seen, so read to the end even when an archive inside seems to end earlier.
// Close closes r when it is an io.Closer, and returns ErrUnread when io.EOF
// was not reached.
func Decrypt(r io.Reader, o Options) (io.ReadCloser, error) {
	if err := errors.Join(o.Public.check(), o.Private.check()); err != nil {
		return nil, err
	}
	d := &decryptor{r: r, want: o.Public.HMAC}
	d.stream, d.mac = ciphers(o.Private)
	return d, nil
}

type decryptor struct {
	r      io.Reader
	stream cipher.Stream
	mac    hash.Hash
	want   []byte
	err    error
}

func (d *decryptor) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.r.Read(p)
	d.mac.Write(p[:n])
	d.err = err
	if err == io.EOF && !hmac.Equal(d.mac.Sum(nil), d.want) {
		d.err = ErrMAC
		clear(p[:n])
		return 0, d.err
	}
	d.stream.XORKeyStream(p[:n], p[:n])
	return n, err
}

func (d *decryptor) Close() error {
	var unread error
	if d.err == nil {
		d.err, unread = ErrUnread, ErrUnread
	}
	if c, ok := d.r.(io.Closer); ok {
		return errors.Join(unread, c.Close())
	}
	return unread
}
