// Package story tells the command line's behaviour as stories in txtar files,
// one file for each noun, or for a noun's good days and its bad ones.
//
// Beside testscript's own commands a story has those of commands_test.go, an
// archive of Debian packages of its own ($MIRROR, signed by $KEYRING and not by
// $OTHER_KEYRING), a recorded proof with its roots ($RECORDED), two free
// addresses ($REGISTRY, at $PORT, and $BROKER), and another way to the first
// that can be held up ($SLOW).
// Nothing needs a network.
package story

import (
	"context"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/internal/cli"
	"holdfast/internal/deb/debtest"
	"holdfast/test/port"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"holdfast": holdfast})
}

// holdfast is cmd/holdfast's main.
func holdfast() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
	})
	stop()
	os.Exit(code)
}

func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Setup:              setup,
		Cmds:               commands,
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

type archiveKey struct{} // of a story's *debtest.Archive
type uploadKey struct{}  // of a chan *upload

func setup(env *testscript.Env) error {
	t := env.T().(testing.TB)
	a := debtest.New(t)
	env.Values[archiveKey{}] = a
	env.Values[uploadKey{}] = make(chan *upload, 1)
	env.Setenv("MIRROR", a.URL)
	env.Setenv("KEYRING", a.Keyring)
	env.Setenv("OTHER_KEYRING", debtest.WriteKeyring(t, debtest.NewKey(t)))
	recorded, err := filepath.Abs("../../internal/proof/testdata/boot")
	if err != nil {
		return err
	}
	env.Setenv("RECORDED", recorded)
	env.Setenv("HOLDFAST_STATE", filepath.Join(env.WorkDir, "state"))
	for _, name := range []string{"REGISTRY", "BROKER"} {
		env.Setenv(name, port.Address(t))
	}
	_, number, err := net.SplitHostPort(env.Getenv("REGISTRY"))
	if err != nil {
		return err
	}
	env.Setenv("PORT", number)
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Defer(func() { _ = slow.Close() })
	r := &road{}
	r.most.Store(open)
	go r.serve(slow, env.Getenv("REGISTRY"))
	env.Values[roadKey{}] = r
	env.Setenv("SLOW", slow.Addr().String())
	return nil
}

// condition answers [mounts]: may this process mount a file system? And
// [machines]: is there what a machine needs, short of booting one?
func condition(name string) (bool, error) {
	switch name {
	case "mounts":
		return os.Getuid() == 0 && canMount(), nil
	case "machines":
		for _, tool := range []string{"qemu-system-x86_64", "swtpm", "swtpm_setup"} {
			if _, err := exec.LookPath(tool); err != nil {
				return false, nil
			}
		}
		_, err := os.Stat("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
		return err == nil, nil
	}
	return false, nil
}

func canMount() bool {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if syscall.Mount("none", dir, "tmpfs", 0, "size=64k") != nil {
		return false
	}
	return syscall.Unmount(dir, 0) == nil
}
