package clients

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ctr speaks to a containerd of its own.
type ctr struct {
	*testing.T
	socket string
}

func newCtr(t *testing.T) ctr {
	t.Helper()
	needs(t, "containerd", "containerd")
	needsRoot(t)
	dir, err := os.MkdirTemp("", "ctr") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	c := ctr{t, filepath.Join(dir, "sock")}
	write(t, filepath.Join(dir, "config.toml"), fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), c.socket))
	var log bytes.Buffer
	daemon := exec.Command("containerd", "--config", filepath.Join(dir, "config.toml"))
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
		if _, err := c.run("version"); err == nil {
			return c
		}
	}
	t.Fatal("containerd does not answer")
	return c
}

func (c ctr) run(args ...string) (string, error) {
	return run(c.Context(), "", "ctr", append([]string{"--address", c.socket}, args...)...)
}

// access are the words that say how to reach the registry.
func (c ctr) access(h host, who person) []string {
	words := []string{"--plain-http"}
	if h.ca != "" {
		words = []string{"--tlscacert=" + h.ca}
	}
	if who != nobody {
		words = append(words, "--user="+who.name+":"+who.password)
	}
	return words
}

// login is a look at the registry's own address: ctr has no verb for it.
func (c ctr) login(h host, who person) error { return craneClient{c.T}.login(h, who) }

func (c ctr) push(h host, who person, layout, ref string) error {
	archive := filepath.Join(c.TempDir(), "image.tar")
	if _, err := run(c.Context(), "", "tar", "-C", layout, "-cf", archive, "."); err != nil {
		return err
	}
	if _, err := c.run("images", "import", "--no-unpack", "--base-name=import", archive); err != nil {
		return err
	}
	if _, err := c.run("images", "tag", "--force", "import:v1", ref); err != nil {
		return err
	}
	_, err := c.run(append(append([]string{"images", "push"}, c.access(h, who)...), ref)...)
	return err
}

func (c ctr) pull(h host, who person, ref string) (string, error) {
	if _, err := c.run("images", "rm", "--sync", ref, "import:v1"); err != nil {
		return "", err
	}
	if _, err := c.run(append(append([]string{"images", "pull", "--snapshotter=native"}, c.access(h, who)...), ref)...); err != nil {
		return "", err
	}
	return c.digest(ref)
}

func (c ctr) digest(ref string) (string, error) {
	list, err := c.run("images", "ls", "name=="+ref)
	if err != nil {
		return "", err
	}
	for field := range strings.FieldsSeq(list) {
		if strings.HasPrefix(field, "sha256:") {
			return field, nil
		}
	}
	return "", fmt.Errorf("no digest in %s", list)
}

func TestContainerd(t *testing.T) { hold(t, newCtr(t), guarded(t, false)) }
