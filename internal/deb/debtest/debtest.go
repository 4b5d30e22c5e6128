// Package debtest serves a small Debian archive to tests.
//
// It is a real archive in every respect that matters: signed by a key of its
// own, indexed by hash, with packages that dpkg could unpack.
package debtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// An Archive is served at URL until its test ends. Its fields may be changed
// between requests.
type Archive struct {
	URL     string
	Keyring string // a file with the key that signs

	Date       time.Time
	ValidUntil time.Time                                         // none when zero
	ByHash     bool                                              // indexes are found by hash alone
	Intercept  func(w http.ResponseWriter, r *http.Request) bool // answers instead, when it says so

	t   testing.TB
	key *openpgp.Entity

	mu     sync.Mutex        // guards what follows
	suites map[string]string // indexes
	pool   map[string][]byte // package files
	seen   []string          // paths asked for
}

// Now is the date of every archive, until a test changes it.
var Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// New serves an archive without packages.
func New(t testing.TB) *Archive {
	t.Helper()
	a := &Archive{t: t, key: NewKey(t), Date: Now, ByHash: true, suites: map[string]string{}, pool: map[string][]byte{}}
	a.Keyring = WriteKeyring(t, a.key)
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.URL = s.URL + "/debian"
	return a
}

// NewKey makes a signing key of the time of Now.
func NewKey(t testing.TB) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("test archive", "", "archive@example.org", keyConfig)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var keyConfig = &packet.Config{
	Algorithm: packet.PubKeyAlgoEdDSA,
	Time:      func() time.Time { return Now.Add(-time.Hour) },
}

// WriteKeyring writes the public keys to a file.
func WriteKeyring(t testing.TB, keys ...*openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// AddSuite adds a suite that may stay empty.
func (a *Archive) AddSuite(suite string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.suites[suite] += ""
}

// Add puts a package into a suite. Control is its paragraph, of which Package
// is required; Version, Architecture and what names the file are added. Files
// are its contents by name ("./usr/bin/x"); a name that ends in a slash is a folder.
func (a *Archive) Add(suite, control string, files ...File) {
	a.mu.Lock()
	defer a.mu.Unlock()
	control = strings.TrimSpace(control) + "\n"
	for field, value := range map[string]string{"Version": "1.0", "Architecture": "amd64"} {
		if !strings.Contains("\n"+control, "\n"+field+":") {
			control += field + ": " + value + "\n"
		}
	}
	file := Build(a.t, control, files...)
	path := fmt.Sprintf("pool/main/%x.deb", sha256.Sum256(file))
	a.pool[path] = file
	a.suites[suite] += fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n\n", control, path, len(file), sha256.Sum256(file))
}

// Forget removes every package of a suite, files and all.
func (a *Archive) Forget(suite string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.suites[suite], a.pool = "", map[string][]byte{}
}

// Seen gives the paths that were asked for since the last call.
func (a *Archive) Seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// ServeHTTP answers as a mirror does. Security suites are at URL + "-security".
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.URL.Path)
	a.mu.Unlock()
	if a.Intercept != nil && a.Intercept(w, r) {
		return
	}
	root, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	a.mu.Lock()
	file, ok := a.pool[rest]
	a.mu.Unlock()
	if ok {
		http.ServeContent(w, r, rest, time.Time{}, bytes.NewReader(file))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 3 || strings.HasSuffix(parts[1], "-security") != strings.HasSuffix(root, "-security") {
		http.NotFound(w, r)
		return
	}
	a.serveSuite(w, r, parts[1], parts[2])
}

// architectures are those that every suite has.
var architectures = []string{"amd64", "arm64"}

func index(arch string) string { return "main/binary-" + arch + "/" }

func (a *Archive) serveSuite(w http.ResponseWriter, r *http.Request, suite, path string) {
	if _, ok := a.suites[suite]; ok && path == "InRelease" {
		_, _ = w.Write(a.Sign(a.release(suite), a.key))
		return
	}
	for _, arch := range architectures {
		packages := a.packages(suite, arch)
		byHash := fmt.Sprintf("%sby-hash/SHA256/%x", index(arch), sha256.Sum256(packages))
		if _, ok := a.suites[suite]; ok && (path == byHash || path == index(arch)+"Packages.gz" && !a.ByHash) {
			_, _ = w.Write(packages)
			return
		}
	}
	http.NotFound(w, r)
}

// packages is the index of an architecture, compressed.
func (a *Archive) packages(suite, arch string) []byte {
	var text strings.Builder
	for p := range strings.SplitAfterSeq(a.suites[suite], "\n\n") {
		if own := "\n" + p; strings.Contains(own, "\nArchitecture: "+arch+"\n") || strings.Contains(own, "\nArchitecture: all\n") {
			text.WriteString(p)
		}
	}
	return compress(a.t, text.String())
}

func (a *Archive) release(suite string) string {
	text := fmt.Sprintf("Origin: test\nSuite: %s\nCodename: %[1]s\nDate: %s\n", suite, stamp(a.Date))
	if !a.ValidUntil.IsZero() {
		text += "Valid-Until: " + stamp(a.ValidUntil) + "\n"
	}
	if a.ByHash {
		text += "Acquire-By-Hash: yes\n"
	}
	text += "SHA256:\n"
	for _, arch := range architectures {
		packages := a.packages(suite, arch)
		text += fmt.Sprintf(" %x %d %sPackages.gz\n", sha256.Sum256(packages), len(packages), index(arch))
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }

// Sign clear-signs text with each of keys.
func (a *Archive) Sign(text string, keys ...*openpgp.Entity) []byte {
	var b bytes.Buffer
	var private []*packet.PrivateKey
	for _, key := range keys {
		private = append(private, key.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&b, private, keyConfig)
	if err == nil {
		_, _ = w.Write([]byte(text))
		err = w.Close()
	}
	if err != nil {
		a.t.Error(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil || z.Close() != nil {
		t.Error(err)
	}
	return b.Bytes()
}

// SkipUnreachable skips a test of the real archive when err is the network's.
func SkipUnreachable(t testing.TB, err error) {
	t.Helper()
	var network net.Error
	if errors.As(err, &network) {
		t.Skipf("needs the Debian mirror of /etc/apt, which cannot be reached: %v", err)
	}
}
