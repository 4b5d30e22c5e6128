package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/atomicfile"
)

// A RetiredKey was replaced. Of it only the certificate is left.
type RetiredKey struct {
	Certificate *x509.Certificate
	At          time.Time
}

var errMismatch = errors.New("key and certificate are of different pairs")

// Rotate replaces the broker's token key, and keeps the certificate of the old
// one. Those that were replaced before forget are dropped. A process that is
// killed on the way leaves the old key, or the new one without its
// certificate, which the next to open the folder makes.
func Rotate(ctx context.Context, dir string, now, forget time.Time) (*Ring, error) {
	r, err := Open(ctx, dir, now)
	if err != nil {
		return nil, err
	}
	unlock, err := atomicfile.Lock(ctx, dir+".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, err := readPair(dir, Token)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(dropRetired(dir, forget), keepRetired(dir, old, now)); err != nil {
		return nil, fmt.Errorf("keep the old certificate: %w", err)
	}
	next, err := r.issue(kindOf(Token), now)
	if err == nil {
		err = writePair(dir, Token, next)
	}
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", Token, err)
	}
	r.pairs[Token] = next
	return r, nil
}

func kindOf(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}

// mend ends a rotation that was cut off: the key is the new one.
func (r *Ring) mend(ctx context.Context, now time.Time) (Pair, error) {
	unlock, err := atomicfile.Lock(ctx, r.dir+".lock")
	if err != nil {
		return Pair{}, err
	}
	defer unlock()
	p, err := readPair(r.dir, Token)
	if !errors.Is(err, errMismatch) {
		return p, err
	}
	if p, err = r.certify(kindOf(Token), p.Key, now); err == nil {
		err = writePair(r.dir, Token, p)
	}
	return p, err
}

func retiredDir(dir string) string { return filepath.Join(dir, "retired") }

func keepRetired(dir string, p Pair, now time.Time) error {
	if err := os.MkdirAll(retiredDir(dir), 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d.crt", Token, now.UnixNano())
	return atomicfile.WriteFile(filepath.Join(retiredDir(dir), name), certificatePEM(p.Certificate), 0o644)
}

// Retired are the token keys that were replaced, and the files that say so.
func Retired(dir string) (list []RetiredKey, err error) {
	return list, eachRetired(dir, func(path string, at time.Time) error {
		der, err := readPEM(path, "CERTIFICATE")
		if err != nil {
			return err
		}
		cert, err := x509.ParseCertificate(der)
		list = append(list, RetiredKey{cert, at})
		return err
	})
}

func dropRetired(dir string, forget time.Time) error {
	return eachRetired(dir, func(path string, at time.Time) error {
		if at.Before(forget) {
			return os.Remove(path)
		}
		return nil
	})
}

func eachRetired(dir string, do func(path string, at time.Time) error) error {
	entries, err := os.ReadDir(retiredDir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		nanos, isRetired := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".crt"), Token+"-")
		at, bad := strconv.ParseInt(nanos, 10, 64)
		if !isRetired || bad != nil {
			continue
		}
		err = errors.Join(err, do(filepath.Join(retiredDir(dir), e.Name()), time.Unix(0, at)))
	}
	return err
}

// ReadToken reads the token key that signs now.
func ReadToken(dir string) (Pair, error) { return readPair(dir, Token) }

// TokenFiles are those that change when the token key rotates.
func TokenFiles(dir string) []string {
	return []string{filepath.Join(dir, Token+".key"), filepath.Join(dir, Token+".crt"), retiredDir(dir)}
}
