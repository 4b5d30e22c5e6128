package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An image of another registry comes through the one of this machine, which knows where
// to get it; the node asks nobody else.
func TestImagesOfOtherRegistriesComeThroughThisMachines(t *testing.T) {
	long(t)
	l := newLab(t)
	elsewhere := *l
	elsewhere.state = t.TempDir()
	check(t, os.Symlink(filepath.Join(l.state, "cache"), filepath.Join(elsewhere.state, "cache")))
	elsewhere.serve()
	upstreams := filepath.Join(t.TempDir(), "upstreams.yaml")
	check(t, os.WriteFile(upstreams, fmt.Appendf(nil, "upstreams:\n  - {prefix: elsewhere.invalid, url: %q}\n", "http://"+elsewhere.registry), 0o600))
	l.serve("--upstreams", upstreams)
	const name = "test-mirror"
	l.create(name)
	l.kubectl(name, "run", "stranger", "--image=elsewhere.invalid/box:1", "--overrides="+strings.ReplaceAll(confined, "127.0.0.1:5000/box", "elsewhere.invalid/box"))
	l.kubectl(name, "wait", "--for=condition=Ready", "pod/stranger", "--timeout=90s")
	if got := l.kubectl(name, "exec", "stranger", "--", "busybox", "hostname"); got != "stranger\n" {
		t.Errorf("got %q", got)
	}
}
