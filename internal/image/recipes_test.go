package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/image/tree"
	"holdfast/test/port"
)

// archiveTree composes a recipe of this repository from today's archive.
func archiveTree(t *testing.T, name string) (*build, *tree.Tree) {
	t.Helper()
	archive, store := todaysArchive(t)
	o := locked(t, archive, store, filepath.Join("..", "..", "images", name))
	b, err := newBuild(t.Context(), o)
	check(t, err)
	t.Cleanup(b.close)
	check(t, archive.Fetch(t.Context(), o.Lock.Packages))
	tr, err := b.tree(t.Context())
	check(t, err)
	return b, tr
}

func TestRecipesHoldEveryLibraryTheirProgramsNeed(t *testing.T) {
	for name, limit := range map[string]int64{"redis": 30e6, "guest": 20e6} {
		t.Run(name, func(t *testing.T) {
			_, tr := archiveTree(t, name)
			if size := tr.Size(); size > limit {
				t.Errorf("unpacked it has %d bytes, want at most %d", size, limit)
			}
			for _, p := range tr.Paths() {
				for _, lib := range needed(tr.Lookup(p)) {
					if tr.Lookup("usr/lib/x86_64-linux-gnu/"+lib) == nil && tr.Lookup("usr/lib64/"+lib) == nil {
						t.Errorf("/%s needs %s, which the recipe leaves out", p, lib)
					}
				}
			}
		})
	}
}

// needed are the shared libraries of an ELF file, none of any other.
func needed(n *tree.Node) []string {
	if n.Type != tar.TypeReg {
		return nil
	}
	f, err := elf.NewFile(n.Content.Open())
	if err != nil {
		return nil
	}
	libs, _ := f.ImportedLibraries()
	return libs
}

func TestGuestHasNoShell(t *testing.T) {
	_, tr := archiveTree(t, "guest")
	for _, p := range tr.Paths() {
		if tr.Lookup(p).Type == tar.TypeDir {
			continue // /var/lib/dpkg only tells what packages there are
		}
		switch path.Base(p) {
		case "sh", "bash", "dash", "busybox", "apt", "dpkg", "sshd", "perl", "python3":
			t.Errorf("/%s is in the machine", p)
		}
	}
	if n := tr.Lookup("etc/resolv.conf"); n == nil || n.Target != "/run/resolv.conf" {
		t.Errorf("/etc/resolv.conf: got %+v, want a link to what DHCP gave", n)
	}
}

func TestRedisAnswersOnlyWithItsSecret(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to change the root directory: run as root")
	}
	b, tr := archiveTree(t, "redis")
	root := t.TempDir()
	extract(t, b, tr, root)
	out, err := redis(root, "6379").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "/run/secrets/redis.conf") {
		t.Fatalf("without its secret: got %v and %s, want a refusal", err, out)
	}
	secrets := filepath.Join(root, "run", "secrets")
	check(t, errors.Join(os.MkdirAll(secrets, 0o755), os.WriteFile(filepath.Join(secrets, "redis.conf"), []byte("requirepass hush\n"), 0o644)))
	number := strconv.Itoa(port.Free(t))
	server := redis(root, number)
	check(t, server.Start())
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	for command, want := range map[string]string{"PING\r\n": "-NOAUTH", "AUTH hush\r\nPING\r\n": "+OK\r\n+PONG\r\n"} {
		if got := talk(t, number, command); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %q", command, got, want)
		}
	}
}

// extract lets GNU tar unpack the layer, owners included.
func extract(t *testing.T, b *build, tr *tree.Tree, root string) {
	t.Helper()
	var layer bytes.Buffer
	check(t, tr.WriteTar(&layer, b.Lock.Date))
	cmd := exec.Command("tar", "--extract", "--numeric-owner", "--directory", root)
	cmd.Stdin = &layer
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	check(t, os.Chmod(root, 0o755))
}

// redis starts what the image's config starts, as the user that it names.
func redis(root, port string) *exec.Cmd {
	return exec.Command("chroot", "--userspec=999:999", root, "/usr/bin/redis-server", "/etc/redis/redis.conf", "--port", port)
}

// talk sends one batch of commands to a server that may still be starting.
func talk(t *testing.T, port, commands string) string {
	t.Helper()
	var conn net.Conn
	var err error
	for range 1200 {
		if conn, err = net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = fmt.Fprintf(conn, "%sQUIT\r\n", commands)
	check(t, err)
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(conn)
	return answer.String()
}
