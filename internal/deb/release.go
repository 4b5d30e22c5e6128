package deb

import (
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// A SignatureError says that an index is not signed by any key of the keyring.
type SignatureError struct {
	Keyring string
	Reason  error
}

func (e *SignatureError) Error() string {
	return fmt.Sprintf("no good signature by a key of %s: %v", e.Keyring, e.Reason)
}
func (e *SignatureError) Unwrap() error { return e.Reason }

// A release is a suite's InRelease after its signature was verified: the
// hashes of the suite's indexes.
type release struct {
	suite, codename  string
	date, validUntil time.Time // validUntil is zero where the suite never expires
	byHash           bool
	files            map[string]entry // by path below dists/SUITE
}

type entry struct {
	digest oci.Digest
	size   int64
}

func (a *Archive) keyring() (openpgp.EntityList, error) {
	b, err := input.ReadFile(a.cfg.Keyring, input.Document)
	if err != nil {
		return nil, fmt.Errorf("archive keyring: %w", err)
	}
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(b, []byte("-----BEGIN")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("archive keyring %s: %w", a.cfg.Keyring, input.Cut(err))
	}
	return keys, nil
}

// openRelease verifies a clear-signed InRelease and reads what was signed.
func (a *Archive) openRelease(signed []byte, keys openpgp.EntityList) (*release, error) {
	block, _ := clearsign.Decode(signed)
	if block == nil {
		return nil, &SignatureError{a.cfg.Keyring, fmt.Errorf("the file is not clear-signed")}
	}
	if err := verifyAny(block, keys, a.cfg.Now); err != nil {
		return nil, &SignatureError{a.cfg.Keyring, err}
	}
	return parseRelease(string(block.Plaintext))
}

// verifyAny wants one good signature among those of the block. Debian signs
// with the keys of several releases, of which the keyring may have one that
// has expired meanwhile, so each signature is judged on its own.
func verifyAny(block *clearsign.Block, keys openpgp.EntityList, now func() time.Time) error {
	last := fmt.Errorf("there is no signature")
	signatures := packet.NewOpaqueReader(block.ArmoredSignature.Body)
	for {
		one, err := signatures.Next()
		if err != nil {
			return last
		}
		var sig bytes.Buffer
		if err := one.Serialize(&sig); err != nil {
			return err
		}
		_, err = openpgp.CheckDetachedSignature(keys, bytes.NewReader(block.Bytes), &sig, &packet.Config{Time: now})
		if err == nil {
			return nil
		}
		last = err
	}
}

// parseRelease reads a Release file: https://wiki.debian.org/DebianRepository/Format
func parseRelease(text string) (*release, error) {
	p := Paragraph(text)
	r := &release{suite: p.Get("Suite"), codename: p.Get("Codename"), files: map[string]entry{}}
	r.byHash = p.Get("Acquire-By-Hash") == "yes"
	var err error
	if r.date, err = releaseTime(p, "Date"); err != nil {
		return nil, err
	}
	if p.Get("Valid-Until") != "" {
		if r.validUntil, err = releaseTime(p, "Valid-Until"); err != nil {
			return nil, err
		}
	}
	for line := range strings.Lines(p.Get("SHA256")) {
		if err := r.addFile(strings.Fields(line)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func releaseTime(p Paragraph, field string) (time.Time, error) {
	t, err := time.Parse(time.RFC1123, p.Get(field))
	if err != nil {
		return t, fmt.Errorf("release: %s is %.60q, want a date such as \"Sat, 11 Jul 2026 10:16:37 UTC\"", field, p.Get(field))
	}
	return t.UTC(), nil
}

func (r *release) addFile(words []string) error {
	if len(words) == 0 {
		return nil
	}
	if len(words) != 3 {
		return fmt.Errorf("release: SHA256 has %.80q, want HASH SIZE PATH", words)
	}
	digest, err := oci.ParseDigest("sha256:" + words[0])
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	size, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("release: size of %.80q is %.40q", words[2], words[1])
	}
	if err := localPath(words[2]); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	r.files[words[2]] = entry{digest, size}
	return nil
}

// check says whether the release is the suite that was asked for, at this time.
func (r *release) check(suite string, now time.Time) error {
	if suite != r.suite && suite != r.codename {
		return fmt.Errorf("the mirror answers with suite %q (codename %q)", r.suite, r.codename)
	}
	if !r.validUntil.IsZero() && now.After(r.validUntil) {
		return fmt.Errorf("the index expired at %s, and it is %s: the mirror is out of date, or this machine's clock is wrong",
			r.validUntil.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// localPath refuses a name that leaves the folder it is relative to.
func localPath(name string) error {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("path %.200q: want one that is relative and clean", name)
	}
	return nil
}
