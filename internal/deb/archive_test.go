package deb

import (
	"net/http"
	"os"
	"testing"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/blob/dir"
	"holdfast/internal/deb/debtest"
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// realArchive is Debian's, by the mirror of this machine's apt sources.
func realArchive(t testing.TB) *Archive {
	t.Helper()
	sources, err := ReadSources("/etc/apt")
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive(t, Config{Sources: sources, Keyring: debianKeyring, Backoff: 500 * time.Millisecond})
	roots := a.archives("bookworm")
	if _, err := os.Stat(debianKeyring); err != nil || len(roots) == 0 {
		t.Skip("needs Debian's keyring and a mirror in /etc/apt: run it on Debian")
	}
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Head(roots[0] + "/dists/bookworm/InRelease")
	debtest.SkipUnreachable(t, err)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return a
}

func newArchive(t testing.TB, cfg Config) *Archive {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = newStore(t, t.TempDir())
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = time.Millisecond
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newStore(t testing.TB, root string) blob.Store {
	t.Helper()
	s, err := dir.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
