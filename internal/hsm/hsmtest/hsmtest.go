// Package hsmtest gives tests a SoftHSM of their own, behind the real helper.
package hsmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/hsm"
)

// module is where Debian's libsofthsm2 lies.
const module = "/usr/lib/softhsm/libsofthsm2.so"

// New makes a token called "test" and a client of it. Without SoftHSM or a C
// compiler the test is skipped.
func New(t testing.TB) *hsm.Client {
	t.Helper()
	client, err := hsm.New(Config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// Config is what New makes its client of.
func Config(t testing.TB) hsm.Config {
	t.Helper()
	for _, tool := range []string{"softhsm2-util", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: apt-get install softhsm2 libsofthsm2 gcc libc6-dev", tool)
		}
	}
	dir := t.TempDir()
	conf, tokens, pin := filepath.Join(dir, "softhsm2.conf"), filepath.Join(dir, "tokens"), filepath.Join(dir, "pin")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{conf: "directories.tokendir = " + tokens + "\nlog.level = ERROR\n", pin: "98765432\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "SOFTHSM2_CONF="+conf)
	run(t, env, "softhsm2-util", "--init-token", "--free", "--label", "test", "--so-pin", "12345678", "--pin", "98765432")
	return hsm.Config{Program: Program(t), Module: module, Token: "test", PINFile: pin, Env: env,
		Deadline: 2 * time.Minute} // a key of RSA takes as long as chance will
}

// Program builds the helper; Go's cache makes the second time quick.
func Program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holdfast-pkcs11")
	run(t, append(os.Environ(), "CGO_ENABLED=1"), "go", "build", "-trimpath", "-o", path, "holdfast/cmd/holdfast-pkcs11")
	return path
}

func run(t testing.TB, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
