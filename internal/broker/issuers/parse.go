package issuers

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/broker"
	"holdfast/internal/form"
	"holdfast/internal/input"
)

// document is the file as YAML; docs/formats/kbs.md describes it.
type document struct {
	Issuers []entryText `yaml:"issuers"`
}

type entryText struct {
	Name         form.Word `yaml:"name"`
	Keys         form.Word `yaml:"keys"`
	Certificates form.Word `yaml:"certificates"`
	JWKS         form.Word `yaml:"jwks"`
	CA           form.Word `yaml:"ca"`
}

// An entry is one issuer, whose keys are at a URL or here.
type entry struct {
	broker.Issuer
	url string         // of its keys; none when empty
	ca  *x509.CertPool // that alone may vouch for the URL; nil on loopback
}

// load reads the file at path and those that it names, which it tells even
// when it fails.
func load(path string) ([]entry, []string, error) {
	files := []string{path}
	raw, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, files, fmt.Errorf("issuers: %w", err)
	}
	texts, err := parse(raw)
	if err != nil {
		return nil, files, fmt.Errorf("%s%w", path, err)
	}
	all := make([]entry, len(texts))
	for i, t := range texts {
		if all[i], err = t.open(filepath.Dir(path), &files); err != nil {
			return nil, files, fmt.Errorf("%s%w", path, err)
		}
	}
	return all, files, nil
}

// parse gives errors that begin with ":LINE: ", to follow a file's name.
func parse(raw []byte) ([]entryText, error) {
	var d document
	if err := form.Decode(raw, &d, entryText{}); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i, t := range d.Issuers {
		if t.Name.Text == "" {
			return nil, fmt.Errorf(": issuer %d has no name, the iss of its tokens", i+1)
		}
		if seen[t.Name.Text] {
			return nil, form.At(t.Name.Line, "issuer %.80q is there twice", t.Name.Text)
		}
		seen[t.Name.Text] = true
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	return d.Issuers, nil
}

func (t *entryText) check() error {
	if t.Keys.Text == "" && t.Certificates.Text == "" && t.JWKS.Text == "" {
		return form.At(t.Name.Line, "issuer %.80q: want keys, certificates or jwks: by what its tokens are known", t.Name.Text)
	}
	if t.JWKS.Text == "" {
		if t.CA.Text != "" {
			return form.At(t.CA.Line, "ca is of a jwks URL, and there is none")
		}
		return nil
	}
	u, err := url.Parse(t.JWKS.Text)
	if err != nil || u.Host == "" || u.User != nil {
		return form.At(t.JWKS.Line, "jwks %.80q: want https://HOST/PATH", t.JWKS.Text)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) {
		return nil
	}
	if u.Scheme != "https" || t.CA.Text == "" {
		return form.At(t.JWKS.Line, "jwks %.80q: want https://HOST/PATH, with the file of the CA that vouches for it as ca", t.JWKS.Text)
	}
	return nil
}

func (t *entryText) open(dir string, files *[]string) (e entry, err error) {
	e = entry{Issuer: broker.Issuer{Name: t.Name.Text}, url: t.JWKS.Text}
	read := func(w form.Word) []byte {
		if w.Text == "" || err != nil {
			return nil
		}
		if !filepath.IsAbs(w.Text) {
			w.Text = filepath.Join(dir, w.Text)
		}
		*files = append(*files, w.Text)
		var raw []byte
		if raw, err = input.ReadFile(w.Text, input.Document); err != nil {
			err = fmt.Errorf(":%d: %w", w.Line, err)
		}
		return raw
	}
	keys, roots, ca := read(t.Keys), read(t.Certificates), read(t.CA)
	if err != nil {
		return e, err
	}
	if keys != nil {
		if e.Keys, err = parseKeys(keys); err != nil {
			return e, &wordError{t.Keys, err}
		}
	}
	if e.Roots, err = pool(roots); err != nil {
		return e, &wordError{t.Certificates, err}
	}
	if e.ca, err = pool(ca); err != nil {
		return e, &wordError{t.CA, err}
	}
	return e, nil
}

// A wordError is about the file that a line names.
type wordError struct {
	word form.Word
	err  error
}

func (e *wordError) Error() string {
	return fmt.Sprintf(":%d: %s: %v", e.word.Line, e.word.Text, e.err)
}
func (e *wordError) Unwrap() error { return e.err }

func pool(raw []byte) (*x509.CertPool, error) {
	if raw == nil {
		return nil, nil
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(raw) {
		return nil, errors.New("want certificates in PEM")
	}
	return p, nil
}

// maxKeys bounds what one issuer may have.
const maxKeys = 64

// parseKeys reads a JWK set (RFC 7517, section 5) of keys that verify.
func parseKeys(raw []byte) (publicKeys, error) {
	var set jose.JSONWebKeySet
	if err := input.JSON(raw, &set); err != nil {
		return nil, fmt.Errorf("want a JWK set: %w", err)
	}
	keys := publicKeys{}
	for _, k := range set.Keys {
		if k.Use == "enc" {
			continue
		}
		if !k.IsPublic() || !k.Valid() {
			return nil, fmt.Errorf("key %.80q: want a public key", k.KeyID)
		}
		id := k.KeyID
		if id == "" {
			var err error
			if id, err = broker.KeyID(k.Key); err != nil {
				return nil, err
			}
		}
		keys[id] = k.Key
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("want 1 to %d keys that sign, there are %d", maxKeys, len(keys))
	}
	return keys, nil
}
