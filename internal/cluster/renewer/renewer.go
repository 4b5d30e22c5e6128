// Package renewer renews the certificates of a cluster's components before they end.
//
// What is to be in a certificate stands in the one that there is, so nothing else is kept.
// The new one is over the same key and takes the old one's place in one step: components,
// which read their files anew by and by, never see a pair that does not match.
package renewer

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/input"
)

// Config says what to renew.
type Config struct {
	Authorities string   // folder of the keys that pki.Open made
	Folders     []string // of certificates, NAME.crt
	Log         *slog.Logger
	Every       time.Duration    // an hour when 0
	Now         func() time.Time // time.Now when nil
}

// Run renews until ctx ends.
func Run(ctx context.Context, c Config) {
	if c.Every <= 0 {
		c.Every = time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for ctx.Err() == nil {
		if err := c.round(); err != nil {
			c.Log.Error("certificates", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.Every):
		}
	}
}

// round looks at all certificates once. One that cannot be renewed keeps no other from it.
func (c Config) round() error {
	keys, err := pki.Open(c.Authorities, c.Now())
	if err != nil {
		return err
	}
	var problems []error
	for _, dir := range c.Folders {
		files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
		problems = append(problems, err)
		for _, file := range files {
			if err := c.look(file, keys); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", file, err))
			}
		}
	}
	return errors.Join(problems...)
}

// look renews the certificate in a file when two thirds of its time are over, as
// kubelets do.
func (c Config) look(file string, keys pki.Keys) error {
	raw, err := input.ReadFile(file, input.Key)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return errors.New("want a certificate in PEM form")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	now, life := c.Now(), cert.NotAfter.Sub(cert.NotBefore)
	if cert.IsCA || now.Before(cert.NotBefore.Add(life*2/3)) {
		return nil
	}
	fresh, err := keys.Renew(cert, now)
	if err != nil {
		return err
	}
	if last, err := input.ReadFile(file, input.Key); err != nil || !bytes.Equal(last, raw) {
		return err // a create, which starts this node's others, has made the pair anew meanwhile
	}
	if err := atomicfile.WriteFile(file, fresh, 0o600); err != nil {
		return err
	}
	c.Log.Info("certificate renewed", "file", file, "ended", cert.NotAfter)
	return nil
}
