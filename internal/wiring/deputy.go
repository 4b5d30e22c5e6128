package wiring

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/roles"
	"holdfast/internal/input"
)

// A Deputy administers a broker by another key than its installation's.
type Deputy struct {
	Key  string // file of the private key
	Role string // of those that the broker's list gives the key; "admin" when empty
	// Root is the file of the root certificate of the broker's installation: it
	// vouches for the server, and names the broker that requests are for. The
	// installation's own when empty.
	Root string
}

// Remote administers the broker at address, without an installation of one's
// own.
func (d Deputy) Remote(address string) (*admin.Client, error) {
	if err := checkBroker(address); err != nil {
		return nil, err
	}
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	c := &admin.Client{URL: address, Audience: brokerName(root),
		HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
	return c, d.Take(c)
}

// RootPool has the root of the broker's installation.
func (d Deputy) RootPool() (*x509.CertPool, error) {
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool, nil
}

func (d Deputy) root() (*x509.Certificate, error) {
	raw, err := input.ReadFile(d.Root, input.Key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: want a certificate in PEM", d.Root)
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Root, err)
	}
	return root, nil
}

// Take makes c the deputy's.
func (d Deputy) Take(c *admin.Client) error {
	raw, err := input.ReadFile(d.Key, input.Key)
	if err != nil {
		return fmt.Errorf("administrator's key: %w", err)
	}
	defer clear(raw)
	if c.Key, err = roles.ParsePrivate(raw); err != nil {
		return fmt.Errorf("administrator's key %s: %w", d.Key, err)
	}
	c.Role = d.Role
	return nil
}

// AddAdministrator makes the owner of a key one. If made is not empty, the key
// is a new one, and made the file of its private half.
func (i Installation) AddAdministrator(a roles.Administrator, made string) error {
	if made == "" {
		return roles.Add(i.BrokerAdmins(), a)
	}
	if _, err := os.Lstat(made); err == nil {
		return fmt.Errorf("%s: %w", made, fs.ErrExist)
	}
	private, public, err := roles.NewKey()
	if err != nil {
		return err
	}
	defer clear(private)
	if err := atomicfile.WriteFile(made, private, 0o600); err != nil {
		return err
	}
	a.Key = public
	if err := roles.Add(i.BrokerAdmins(), a); err != nil {
		return errors.Join(err, os.Remove(made))
	}
	return nil
}
