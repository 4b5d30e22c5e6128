// Package robust shows what bad days do to the command line: memory that is
// short, processes that are killed, disks that are full, and files that are
// not what they should be.
//
// Everything runs as a process of its own, as a person would run it. Samples
// are seeded: a failure prints what repeats it. HOLDFAST_SOAK=1 widens each
// test to its whole.
package robust

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/cli"
)

// asHoldfast in the environment makes this test binary the program.
const asHoldfast = "HOLDFAST_TEST_AS_PROGRAM"

// withPatience is how long it then waits for servers that say nothing.
const withPatience = "HOLDFAST_TEST_PATIENCE"

func TestMain(m *testing.M) {
	if os.Getenv(asHoldfast) != "" {
		os.Exit(program())
	}
	os.Exit(m.Run())
}

// program is cmd/holdfast's main.
func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	patience, _ := time.ParseDuration(os.Getenv(withPatience))
	return cli.Main(ctx, cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Patience: patience,
	})
}

// soak says whether the whole is wanted, not a sample.
func soak() bool { return os.Getenv("HOLDFAST_SOAK") != "" }

// A place is a working directory with a state folder.
type place struct {
	t      testing.TB
	dir    string
	state  string
	source []string // flags that say where packages are
	// patience is with servers that say nothing; the program's own when 0.
	patience time.Duration
}

func newPlace(t testing.TB) *place {
	dir := t.TempDir()
	return &place{t: t, dir: dir, state: filepath.Join(dir, "state")}
}

// command is holdfast with these words, in the place.
func (p *place) command(words ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	c := exec.Command(exe, words...)
	c.Dir = p.dir
	c.Env = append(os.Environ(), asHoldfast+"=1", "HOLDFAST_STATE="+p.state, "TMPDIR="+p.dir)
	if p.patience > 0 {
		c.Env = append(c.Env, withPatience+"="+p.patience.String())
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// run wants words to succeed, and gives what they printed.
func (p *place) run(words ...string) string {
	p.t.Helper()
	var out, problems bytes.Buffer
	c := p.command(words...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		p.t.Fatalf("holdfast %s: %v\n%s", strings.Join(words, " "), err, problems.String())
	}
	return out.String()
}

func (p *place) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

func (p *place) remove(names ...string) {
	p.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(p.path(name)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *place) write(name, content string) {
	p.t.Helper()
	path := p.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// keyPair writes an RSA key to name and its public half to name.pub.
func (p *place) keyPair(name string) {
	p.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	p.write(name+".pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
}

// serve starts registry and broker until the test ends, and gives the
// registry's address.
func (p *place) serve(words ...string) (*exec.Cmd, string) {
	p.t.Helper()
	c := p.command(append([]string{"serve", "--registry-listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"}, words...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "registry http://"); ok {
			return c, strings.Fields(address)[0]
		}
	}
	p.t.Fatal("serve ended without a word of where the registry is")
	return nil, ""
}
