package swtpm_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/swtpm"
)

func needSwtpm(t *testing.T) {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("%v; run it with: apt-get install swtpm swtpm-tools", err)
	}
}

func inFolder(dir string) swtpm.Config {
	return swtpm.Config{Dir: filepath.Join(dir, "tpm"), CADir: filepath.Join(dir, "ca")}
}

func manufacture(t *testing.T) swtpm.Config {
	t.Helper()
	needSwtpm(t)
	c := inFolder(t.TempDir())
	start := time.Now()
	if err := swtpm.Manufacture(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Logf("manufactured in %v", time.Since(start))
	return c
}

// shared is one TPM for the tests that leave it as it is.
var shared struct {
	once sync.Once
	swtpm.Config
	err error
}

func sharedTPM(t *testing.T) swtpm.Config {
	t.Helper()
	needSwtpm(t)
	shared.once.Do(func() {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "swtpm-test-"); shared.err == nil {
			shared.Config = inFolder(dir)
			shared.err = swtpm.Manufacture(t.Context(), shared.Config)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.Config
}

func TestManufactureIsRepeatableAndSafeInParallel(t *testing.T) {
	c := manufacture(t)
	before, err := os.ReadFile(filepath.Join(c.Dir, "tpm2-00.permall"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	other := swtpm.Config{Dir: c.Dir + "2", CADir: c.CADir}
	for _, config := range []swtpm.Config{c, other, other, other} {
		wg.Go(func() {
			if err := swtpm.Manufacture(t.Context(), config); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after, err := os.ReadFile(filepath.Join(c.Dir, "tpm2-00.permall"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("an existing TPM was changed (%v)", err)
	}
	if names, _ := filepath.Glob(filepath.Join(other.Dir, "*")); len(names) != 1 {
		t.Errorf("TPM folder has %q, want the state alone", names)
	}
}

func TestCAIsIssuerThenRoot(t *testing.T) {
	c := sharedTPM(t)
	bundle, err := swtpm.CA(c.CADir)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	if len(certs) != 2 {
		t.Fatalf("%d certificates, want 2", len(certs))
	}
	if err := certs[0].CheckSignatureFrom(certs[1]); err != nil {
		t.Errorf("issuer is not signed by the root: %v", err)
	}
}

func TestCAIsAbsentBeforeTheFirstTPM(t *testing.T) {
	if _, err := swtpm.CA(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestOpenedTPMAnswersAndEndsOnClose(t *testing.T) {
	c := sharedTPM(t)
	tpm, err := swtpm.Open(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	random, err := tpm2.GetRandom{BytesRequested: 16}.Execute(tpm)
	if err != nil || len(random.RandomBytes.Buffer) != 16 {
		t.Errorf("got %v and %v, want 16 bytes", random, err)
	}
	if err := errors.Join(tpm.Close(), tpm.Close()); err != nil {
		t.Error(err)
	}
	if _, err := (tpm2.GetRandom{BytesRequested: 16}).Execute(tpm); err == nil {
		t.Error("a closed TPM answered")
	}
}

func TestStartedTPMHasAControlChannel(t *testing.T) {
	c := sharedTPM(t)
	p, err := swtpm.Start(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.ControlSocket()) > 107 || !filepath.IsAbs(p.ControlSocket()) {
		t.Errorf("control socket %q is not a short absolute path", p.ControlSocket())
	}
	conn, err := net.Dial("unix", p.ControlSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 12)
	const getCapability = 1 // swtpm_ioctls(3), CMD_GET_CAPABILITY
	if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, getCapability)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(answer); err != nil || bytes.Equal(answer, make([]byte, 12)) {
		t.Errorf("control channel said %x, %v", answer, err)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(p.ControlSocket())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket folder is left: %v", err)
	}
}

func TestOneTPMIsNotServedTwice(t *testing.T) {
	c := sharedTPM(t)
	p, err := swtpm.Start(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if conn, err := net.Dial("unix", p.ControlSocket()); err == nil { // swtpm locks the state on CMD_INIT
		defer conn.Close()
		if _, err := conn.Write([]byte{0, 0, 0, 2, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	tpm, err := swtpm.Open(t.Context(), c.Dir)
	if err == nil {
		defer tpm.Close()
		_, err = tpm2.GetRandom{BytesRequested: 1}.Execute(tpm)
	}
	if err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("got %v, want a word about the lock", err)
	}
}

func TestFolderThatIsNoTPMIsRefused(t *testing.T) {
	needSwtpm(t)
	for _, dir := range []string{"", "a,b", t.TempDir()} {
		if p, err := swtpm.Start(t.Context(), dir); err == nil {
			_ = p.Close()
			t.Errorf("folder %q was started", dir)
		}
	}
}

func TestMissingProgramNamesItsPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := swtpm.Manufacture(t.Context(), swtpm.Config{Dir: t.TempDir(), CADir: t.TempDir()})
	var missing *swtpm.MissingError
	if !errors.As(err, &missing) || missing.Tool != "swtpm" || !strings.Contains(err.Error(), "swtpm-tools") {
		t.Errorf("got %v, want a MissingError for swtpm", err)
	}
}

// The test binary, run again with one of these variables, starts a TPM and waits
// to be killed, or makes one.
const (
	orphanVariable = "SWTPM_TEST_ORPHAN"
	makerVariable  = "SWTPM_TEST_MAKER"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(makerVariable); dir != "" {
		if err := swtpm.Manufacture(context.Background(), inFolder(dir)); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(orphanVariable); dir != "" {
		p, err := swtpm.Start(context.Background(), dir)
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString(p.ControlSocket() + "\n")
		select {}
	}
	code := m.Run()
	if shared.Dir != "" {
		_ = os.RemoveAll(filepath.Dir(shared.Dir))
	}
	os.Exit(code)
}

func TestTPMDiesWithItsStarter(t *testing.T) {
	c := sharedTPM(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), orphanVariable+"="+c.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimSpace(string(buf[:n]))
	defer os.RemoveAll(filepath.Dir(socket))
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the TPM outlived its starter")
		}
	}
}
