package deb

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"holdfast/internal/deb/debtest"
)

// mirrored is an Archive of what a serves.
func mirrored(t *testing.T, a *debtest.Archive) *Archive {
	return newArchive(t, Config{Mirror: a.URL, Keyring: a.Keyring, Now: func() time.Time { return debtest.Now }})
}

func indexes(t *testing.T, a *Archive) (*Universe, error) {
	t.Helper()
	return a.Indexes(t.Context(), "bookworm", "amd64")
}

func TestNewestVersionOfAllSuitesWins(t *testing.T) {
	served := debtest.New(t)
	served.Add("bookworm", "Package: a\nVersion: 1.9")
	served.Add("bookworm-updates", "Package: a\nVersion: 1:0.1")
	served.Add("bookworm-security", "Package: a\nVersion: 1.10")
	u, err := indexes(t, mirrored(t, served))
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := u.Newest("a"); p.Version != "1:0.1" || p.Suite != "bookworm-updates" {
		t.Errorf("got %s of %s, want 1:0.1 of bookworm-updates", p, p.Suite)
	}
}

func TestAbsentUpdatesAndSecurityAreNoError(t *testing.T) {
	served := debtest.New(t)
	served.Add("bookworm", "Package: a")
	if _, err := indexes(t, mirrored(t, served)); err != nil {
		t.Error(err)
	}
	_, err := mirrored(t, served).Indexes(t.Context(), "bukworm", "amd64")
	if err == nil || !strings.Contains(err.Error(), "suite bukworm: ") || !strings.Contains(err.Error(), "not on this mirror") {
		t.Errorf("got %v, want the suite named", err)
	}
}

func TestIndexIsFetchedByHashAndOnlyOnce(t *testing.T) {
	served := debtest.New(t)
	served.Add("bookworm", "Package: a")
	a := mirrored(t, served)
	for _, want := range []bool{true, false} {
		if _, err := indexes(t, a); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(served.Seen(), " "), "/by-hash/SHA256/"); got != want {
			t.Errorf("fetched: got %v, want %v", got, want)
		}
	}
}

func TestIndexWithoutByHashIsFetchedByName(t *testing.T) {
	served := debtest.New(t)
	served.ByHash = false
	served.Add("bookworm", "Package: a")
	if _, err := indexes(t, mirrored(t, served)); err != nil {
		t.Error(err)
	}
}

func TestAlteredIndexIsRefused(t *testing.T) {
	for name, alter := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"same size": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "by-hash") {
				return false
			}
			_, _ = w.Write(bytes.Repeat([]byte("x"), 10))
			return true
		},
		"endless": func(w http.ResponseWriter, r *http.Request) bool {
			for strings.Contains(r.URL.Path, "by-hash") {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return true
				}
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			served := debtest.New(t)
			served.Add("bookworm", "Package: a")
			served.Intercept = alter
			if _, err := indexes(t, mirrored(t, served)); err == nil || !strings.Contains(err.Error(), "its index says") {
				t.Errorf("got %v, want a refusal of its size", err)
			}
		})
	}
}

// answer serves body as bookworm's InRelease.
func answer(a *debtest.Archive, body []byte) {
	a.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/bookworm/InRelease") {
			return false
		}
		_, _ = w.Write(body)
		return true
	}
}

const releaseText = "Suite: stable\nCodename: bookworm\nDate: Sun, 01 Mar 2026 12:00:00 UTC\nSHA256:\n" +
	" e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n"

func TestReleaseThatIsNotSignedByOurKeysIsRefused(t *testing.T) {
	served := debtest.New(t)
	stranger := debtest.NewKey(t)
	altered := bytes.Replace(served.Sign(releaseText, stranger), []byte("bookworm"), []byte("trixie  "), 1)
	for name, body := range map[string][]byte{
		"a stranger's": served.Sign(releaseText, stranger),
		"altered":      altered,
		"no signature": []byte(releaseText),
		"empty":        nil,
	} {
		answer(served, body)
		_, err := indexes(t, mirrored(t, served))
		var bad *SignatureError
		if !errors.As(err, &bad) || bad.Keyring != served.Keyring {
			t.Errorf("%s: got %v, want a SignatureError", name, err)
		}
	}
}

func TestTextAroundTheSignedPartIsNotBelieved(t *testing.T) {
	served := debtest.New(t)
	served.Add("bookworm", "Package: a")
	key := debtest.NewKey(t)
	signed := served.Sign(strings.Replace(releaseText, "Codename: bookworm", "Codename: trixie", 1), key)
	answer(served, append([]byte(releaseText+"\n"), signed...))
	a := newArchive(t, Config{Mirror: served.URL, Keyring: debtest.WriteKeyring(t, key), Now: func() time.Time { return debtest.Now }})
	if _, err := indexes(t, a); err == nil || !strings.Contains(err.Error(), `suite "stable" (codename "trixie")`) {
		t.Errorf("got %v, want what was signed to count", err)
	}
}

// Debian signs with the keys of several releases at once.
func TestOneGoodSignatureOfSeveralIsEnough(t *testing.T) {
	served := debtest.New(t)
	first, second := debtest.NewKey(t), debtest.NewKey(t)
	signed := served.Sign(releaseText, first, second)
	for name, keys := range map[string]string{
		"only the second is known": debtest.WriteKeyring(t, second),
		"the first was revoked":    debtest.WriteKeyring(t, revoked(t, first), second),
	} {
		a := newArchive(t, Config{Mirror: served.URL, Keyring: keys, Now: func() time.Time { return debtest.Now }})
		list, err := a.keyring()
		if err == nil {
			_, err = a.openRelease(signed, list)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func revoked(t *testing.T, key *openpgp.Entity) *openpgp.Entity {
	t.Helper()
	if err := key.RevokeKey(0, "", nil); err != nil {
		t.Fatal(err)
	}
	return key
}

func TestExpiredIndexIsRefused(t *testing.T) {
	served := debtest.New(t)
	served.Add("bookworm", "Package: a")
	served.ValidUntil = debtest.Now.Add(-time.Second)
	if _, err := indexes(t, mirrored(t, served)); err == nil || !strings.Contains(err.Error(), "the index expired at 2026-03-01T11:59:59Z") {
		t.Errorf("got %v", err)
	}
	served.ValidUntil = debtest.Now.Add(time.Second)
	if _, err := indexes(t, mirrored(t, served)); err != nil {
		t.Error(err)
	}
}

func TestSuiteThatIsAnotherIsRefused(t *testing.T) {
	served := debtest.New(t)
	served.AddSuite("bookworm")
	served.AddSuite("trixie")
	served.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.Replace(r.URL.Path, "/bookworm/", "/trixie/", 1)
		return false
	}
	if _, err := indexes(t, mirrored(t, served)); err == nil || !strings.Contains(err.Error(), `suite "trixie"`) {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestArmoredKeyringIsRead(t *testing.T) {
	served := debtest.New(t)
	served.AddSuite("bookworm")
	b, _ := os.ReadFile(served.Keyring)
	var text bytes.Buffer
	w, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
	if err == nil {
		_, _ = w.Write(b)
		err = errors.Join(w.Close(), os.WriteFile(served.Keyring, text.Bytes(), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := indexes(t, mirrored(t, served)); err != nil {
		t.Error(err)
	}
}

func TestAbsentKeyringAndMirrorAreNamed(t *testing.T) {
	served := debtest.New(t)
	if _, err := indexes(t, newArchive(t, Config{Mirror: served.URL, Keyring: "/none.gpg"})); err == nil || !strings.Contains(err.Error(), "/none.gpg") {
		t.Errorf("got %v, want the keyring named", err)
	}
	if _, err := indexes(t, newArchive(t, Config{Keyring: served.Keyring})); !errors.Is(err, ErrNoArchive) {
		t.Errorf("got %v, want ErrNoArchive", err)
	}
}
