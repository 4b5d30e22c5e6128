package recipe

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/blob/dir"
	"holdfast/internal/deb"
	"holdfast/internal/deb/debtest"
)

// serve is an archive with what the good recipe needs.
func serve(t *testing.T) *debtest.Archive {
	a := debtest.New(t)
	a.Add("bookworm", "Package: redis-server\nDepends: libc6, adduser, redis-tools (= 1.0)")
	a.Add("bookworm", "Package: redis-tools\nVersion: 1.0")
	a.Add("bookworm", "Package: libc6\nDepends: perl-base")
	a.Add("bookworm", "Package: adduser")
	a.Add("bookworm", "Package: perl-base")
	a.Add("bookworm", "Package: linux-image-cloud-amd64\nVersion: 6.1\nDepends: linux-image-6.1.0-1-cloud-amd64 (= 6.1)")
	a.Add("bookworm", "Package: linux-image-6.1.0-1-cloud-amd64\nVersion: 6.1\nDepends: initramfs-tools | dracut")
	a.Add("bookworm", "Package: systemd-boot-efi")
	a.Add("bookworm-security", "Package: libc6\nVersion: 1.0+deb12u1")
	return a
}

func locker(t *testing.T, cfg deb.Config) Locker {
	t.Helper()
	store, err := dir.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store, cfg.Backoff = store, cmp.Or(cfg.Backoff, time.Millisecond)
	archive, err := deb.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return Locker{Archive: archive, Go: "go1.26.8"}
}

func local(t *testing.T, a *debtest.Archive) Locker {
	return locker(t, deb.Config{Mirror: a.URL, Keyring: a.Keyring, Now: func() time.Time { return debtest.Now }})
}

func names(list []deb.Pin) string {
	var names []string
	for _, p := range list {
		names = append(names, p.Name+"="+p.Version+"@"+p.Suite)
	}
	return strings.Join(names, " ")
}

func TestLockPinsTheTreeAndWhatBoots(t *testing.T) {
	r := load(t, good)
	l, err := local(t, serve(t)).Lock(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(l.Packages), "libc6=1.0+deb12u1@bookworm-security redis-server=1.0@bookworm redis-tools=1.0@bookworm"; got != want {
		t.Errorf("packages: got  %s\nwant %s", got, want)
	}
	if got, want := names(l.Boot), "linux-image-6.1.0-1-cloud-amd64=6.1@bookworm systemd-boot-efi=1.0@bookworm"; got != want {
		t.Errorf("boot: got  %s\nwant %s", got, want)
	}
	if !l.Date.Equal(debtest.Now) || len(l.Indexes) != 2 {
		t.Errorf("got date %v and %d indexes, want %v and 2", l.Date, len(l.Indexes), debtest.Now)
	}
}

func TestLockingAgainGivesTheSameBytesAndNoHost(t *testing.T) {
	a := serve(t)
	r := load(t, good)
	var written [2][]byte
	for i := range written {
		l, err := local(t, a).Lock(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Write(r.LockPath()); err != nil {
			t.Fatal(err)
		}
		written[i], _ = os.ReadFile(r.LockPath())
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Errorf("got\n%s\nwant\n%s", written[1], written[0])
	}
	if bytes.Contains(written[0], []byte("127.0.0.1")) {
		t.Errorf("the lock names a host:\n%s", written[0])
	}
}

func TestLockIsReadAsItWasWritten(t *testing.T) {
	r := load(t, good)
	l, err := local(t, serve(t)).Lock(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again")
	if err := l.Write(r.LockPath()); err != nil {
		t.Fatal(err)
	}
	read, err := ReadLock(r.LockPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(read.Matches(r), read.Write(again)); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(r.LockPath())
	if got, _ := os.ReadFile(again); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestChangedRecipeDoesNotMatchItsLock(t *testing.T) {
	r := load(t, good)
	l, err := local(t, serve(t)).Lock(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir(), "motd"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if err := l.Matches(r); !errors.As(err, &changed) || !strings.Contains(err.Error(), r.path) {
		t.Fatalf("got %v, want a ChangedError that names the recipe", err)
	}
}

func TestEditedLockIsRefused(t *testing.T) {
	r := load(t, good)
	l, err := local(t, serve(t)).Lock(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*Lock){
		"version 2":    func(l *Lock) { l.Version = 2 },
		"path \"../":   func(l *Lock) { l.Packages[0].Path = "../etc/passwd" },
		"want sha256:": func(l *Lock) { l.Packages[0].SHA256 = "00" },
		"not sorted":   func(l *Lock) { l.Packages[0].Name = "zlib1g" },
		"date is":      func(l *Lock) { l.Date = time.Time{} },
	} {
		bad := *l
		bad.Packages = append([]deb.Pin{}, l.Packages...)
		edit(&bad)
		path := filepath.Join(t.TempDir(), "recipe.lock")
		if err := bad.Write(path); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestKernelThatIsNoKernelIsRefused(t *testing.T) {
	r := load(t, strings.Replace(good, "kernel: linux-image-cloud-amd64", "kernel: redis-tools", 1))
	_, err := local(t, serve(t)).Lock(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "redis-tools 1.0 depends on no linux-image-VERSION") {
		t.Fatalf("got %v", err)
	}
}

// TestRealRedisLocks runs where Debian's mirror of /etc/apt can be reached.
func TestRealRedisLocks(t *testing.T) {
	sources, err := deb.ReadSources("/etc/apt")
	if err != nil || len(sources) == 0 {
		t.Skip("needs a mirror in /etc/apt: run it on Debian")
	}
	keyring := "/usr/share/keyrings/debian-archive-keyring.gpg"
	k := locker(t, deb.Config{Sources: sources, Keyring: keyring, Backoff: 500 * time.Millisecond})
	r := load(t, good)
	start := time.Now()
	l, err := k.Lock(t.Context(), r)
	debtest.SkipUnreachable(t, err)
	if err != nil {
		t.Fatal(err)
	}
	cold := time.Since(start)
	start = time.Now()
	again, err := k.Lock(t.Context(), r)
	if err != nil || names(again.Packages) != names(l.Packages) || !again.Date.Equal(l.Date) {
		t.Errorf("got another lock, or %v", err)
	}
	t.Logf("cold %v, warm %v, %d packages, boot %s", cold, time.Since(start), len(l.Packages), names(l.Boot))
	if !strings.HasPrefix(l.Boot[0].Name, "linux-image-6.") {
		t.Errorf("got kernel %s", l.Boot[0].Name)
	}
}
