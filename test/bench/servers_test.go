package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/test/port"
)

// peers are the registries beside ours, from Go modules at these versions.
const peersModule = `module peers

go 1.26

require (
	github.com/distribution/distribution/v3 v3.1.0
	github.com/olareg/olareg v0.2.1
)
`

// Each is served as its own command would serve it, from a folder.
var peersMains = map[string]string{
	"distribution": `package main

import (
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if registry.RootCmd.Execute() != nil {
		panic("not served")
	}
}
`,
	"olareg": `package main

import (
	"net/http"
	"os"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
)

func main() {
	s := olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: os.Args[2]}})
	panic(http.ListenAndServe(os.Args[1], s))
}
`,
}

// peer builds one of the peers, once for the state folder.
func peer(b *testing.B, name string) string {
	b.Helper()
	dir := filepath.Join(state(b).Dir(), "test", "peers")
	binary := filepath.Join(dir, name+"-1")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	check(b, os.MkdirAll(filepath.Join(dir, name), 0o755))
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		check(b, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(peersModule), 0o644))
	}
	check(b, os.WriteFile(filepath.Join(dir, name, "main.go"), []byte(peersMains[name]), 0o644))
	cmd := exec.Command("go", "build", "-mod=mod", "-o", binary, "./"+name)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v: %s", name, err, out)
	}
	return binary
}

// A served registry is a process.
type served struct {
	name, url string
	password  string // of the user "bench"; empty: anybody may push
	cmd       *exec.Cmd
}

// serveOlareg, serveDistribution and serveOurs start a registry over an empty
// folder; the test's end stops it.
func serveOlareg(b *testing.B) *served {
	address := port.Address(b)
	return start(b, "olareg", address, exec.Command(peer(b, "olareg"), address, b.TempDir()))
}

func serveDistribution(b *testing.B) *served {
	address, dir := port.Address(b), b.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "store"), address)
	check(b, os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o644))
	return start(b, "distribution", address, exec.Command(peer(b, "distribution"), "serve", filepath.Join(dir, "config.yml")))
}

// serveOurs serves with the swarm up: each blob is IPFS content at once.
func serveOurs(b *testing.B, name string, flags ...string) *served {
	address := port.Address(b)
	args := []string{"serve", "--quiet", "--state", b.TempDir(), "--registry-listen", address, "--broker-listen", port.Address(b), "--swarm-listen", port.Address(b)}
	return start(b, name, address, exec.Command(filepath.Join(root, "bin", "holdfast"), append(args, flags...)...))
}

// serveGuarded serves to a user with a password alone.
func serveGuarded(b *testing.B) *served {
	const password = "correct horse"
	rules := filepath.Join(b.TempDir(), "access.yaml")
	add := exec.Command(filepath.Join(root, "bin", "holdfast"), "registry", "user", "add", "bench", "--access", rules, "--quiet")
	add.Stdin = strings.NewReader(password + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		b.Fatalf("user add: %v: %s", err, out)
	}
	s := serveOurs(b, "guarded", "--access", rules)
	s.password = password
	return s
}

// start waits until the process answers.
func start(b *testing.B, name, address string, cmd *exec.Cmd) *served {
	b.Helper()
	var said bytes.Buffer
	cmd.Stderr = &said
	check(b, cmd.Start())
	s := &served{name: name, url: "http://" + address, cmd: cmd}
	b.Cleanup(s.stop)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if res, err := http.Get(s.url + "/v2/"); err == nil {
			_ = res.Body.Close()
			return s
		}
		if time.Now().After(end) {
			b.Fatalf("%s does not answer: %s", name, said.Bytes())
		}
	}
}

// stop ends the process; a second time it does nothing.
func (s *served) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	last := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer last.Stop()
	_ = s.cmd.Wait()
}

// memory is a figure of /proc/PID/status, in MiB: VmRSS, or VmHWM for the most
// that there was.
func (s *served) memory(b *testing.B, field string) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	check(b, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			var kib float64
			_, err := fmt.Sscanf(rest, "%f kB", &kib)
			check(b, err)
			return kib / 1024
		}
	}
	b.Fatalf("no %s", field)
	return 0
}
