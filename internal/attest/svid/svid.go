// Package svid keeps a machine's certificate in a folder: an X.509-SVID, its key
// and the bundle that others are checked by.
//
// Whoever reads the folder finds the three of one moment, and a certificate that
// is good: it is renewed, with a key of its own, when half of its time is over.
package svid

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"holdfast/internal/attest/kbc"
)

// The files of the folder, by the names that spiffe-helper gives them.
const (
	CertificateFile = "svid.pem"
	KeyFile         = "svid_key.pem"
	BundleFile      = "svid_bundle.pem"
)

// now is the link to the folder of the files that are there now.
const now = "now"

// A Keeper keeps one certificate. Dir and Certify are required.
type Keeper struct {
	Dir      string
	UID, GID int // of who may read the key
	// Certify has the key of a certificate request certified.
	Certify func(ctx context.Context, request []byte) (*kbc.Certificate, error)
	Renewed func() // nil: nobody is told
	Log     *slog.Logger

	Now   func() time.Time                                 // nil: the clock
	Sleep func(ctx context.Context, d time.Duration) error // nil: as long as it says
}

// The pauses after a renewal that failed grow from the first to the last, or to a
// quarter of the certificate's life.
const (
	firstPause = 5 * time.Second
	lastPause  = 5 * time.Minute
)

// Obtain gets a certificate for a new key, and puts both into the folder.
func (k Keeper) Obtain(ctx context.Context) (*kbc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	issued, err := k.Certify(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := k.check(issued, key); err != nil {
		return nil, fmt.Errorf("the certificate that the broker gave: %w", err)
	}
	return issued, k.write(issued, key)
}

// check wants what others would want of it.
func (k Keeper) check(c *kbc.Certificate, key *ecdsa.PrivateKey) error {
	block, _ := pem.Decode([]byte(c.Certificate))
	if block == nil {
		return errors.New("is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.Bundle))
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: k.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	switch {
	case err != nil:
		return err
	case !key.PublicKey.Equal(cert.PublicKey):
		return errors.New("is for another key")
	case len(cert.URIs) != 1 || cert.URIs[0].String() != c.ID:
		return fmt.Errorf("is not for %.200q", c.ID)
	case !cert.NotAfter.Equal(c.Expires):
		return errors.New("ends at another time than was said")
	}
	return nil
}

// write makes a folder of its own for the three, and leads the link to it: so
// nobody finds the key of one certificate beside another.
func (k Keeper) write(c *kbc.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.Dir, 0o755); err != nil {
		return err
	}
	name := strconv.FormatInt(k.now().UnixNano(), 36)
	dir := filepath.Join(k.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	before, _ := os.Readlink(filepath.Join(k.Dir, now)) // none the first time
	if err := k.fill(dir, c, der); err != nil {
		return errors.Join(err, os.RemoveAll(dir)) // there is a key in it
	}
	if err := k.link(name, now); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(k.Dir, filepath.Base(before)))
}

// fill writes the three, and the links that lead to them by way of now.
func (k Keeper) fill(dir string, c *kbc.Certificate, key []byte) error {
	for _, f := range []struct {
		name, content string
		mode          os.FileMode
	}{
		{KeyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), 0o400},
		{CertificateFile, c.Certificate, 0o444}, {BundleFile, c.Bundle, 0o444},
	} {
		path := filepath.Join(dir, f.name)
		if err := cmp.Or(os.WriteFile(path, []byte(f.content), f.mode), os.Chown(path, k.UID, k.GID)); err != nil {
			return err
		}
		if err := k.link(filepath.Join(now, f.name), f.name); err != nil {
			return err
		}
	}
	return nil
}

// link replaces a link of the folder at once.
func (k Keeper) link(target, name string) error {
	beside := filepath.Join(k.Dir, name+".new")
	if err := os.Symlink(target, beside); err != nil {
		return err
	}
	err := os.Rename(beside, filepath.Join(k.Dir, name))
	if err != nil {
		err = errors.Join(err, os.Remove(beside))
	}
	return err
}

// Keep renews the certificate until ctx ends. A renewal that fails is tried
// again, also when the certificate has ended.
func (k Keeper) Keep(ctx context.Context, c *kbc.Certificate) {
	var life time.Duration // of the certificate, when it was new
	for pause := time.Duration(0); ; {
		wait := pause
		if wait == 0 {
			life = c.Expires.Sub(k.now())
			wait = max(life/2, firstPause)
		}
		if k.sleep(ctx, wait) != nil {
			return
		}
		next, err := k.Obtain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = min(max(2*pause, firstPause), lastPause, max(firstPause, life/4))
			k.Log.Warn("the machine's certificate is not renewed", "good until", c.Expires.Format(time.RFC3339), "because", err)
		default:
			c, pause = next, 0
			if k.Renewed != nil {
				k.Renewed()
			}
		}
	}
}

func (k Keeper) now() time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return time.Now()
}

func (k Keeper) sleep(ctx context.Context, d time.Duration) error {
	if k.Sleep != nil {
		return k.Sleep(ctx, d)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
