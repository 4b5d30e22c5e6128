package deb

import (
	"context"
	"testing"
	"time"

	"holdfast/internal/blob/dir"
)

func TestX(t *testing.T) {
	src, err := ReadSources("/etc/apt")
	t.Log(src, err)
	s, _ := dir.New("/tmp/deb-a/store")
	a, err := New(Config{Store: s, Sources: src, Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg"})
	if err != nil {
		t.Fatal(err)
	}
	t0 := time.Now()
	u, err := a.Indexes(context.Background(), "bookworm", "amd64")
	t.Log(time.Since(t0), err)
	t0 = time.Now()
	for _, n := range []string{"redis-server", "redis", "nginx", "linux-image-cloud-amd64", "gnome"} {
		l, err := u.Resolve(Request{Packages: []string{n}})
		t.Log(n, len(l), err, time.Since(t0))
		if n == "redis-server" {
			t.Log(l)
		}
	}
}
