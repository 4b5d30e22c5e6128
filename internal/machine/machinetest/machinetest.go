// Package machinetest makes what tests boot.
//
// The kernel is Debian's, which make test unpacks, and process 1 is a program
// in the test's own testdata: such machines start in seconds.
package machinetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/kmod"
	"holdfast/internal/swtpm"
)

// Kernel gives the kernel image and the folder of its modules, or skips the
// test where there is no kernel.
func Kernel(t testing.TB) (image, modules string) {
	t.Helper()
	dir := os.Getenv("HOLDFAST_TEST_KERNEL")
	images, _ := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	folders, _ := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if dir == "" || len(images) == 0 || len(folders) == 0 {
		t.Skip("needs a kernel: run make test, or set HOLDFAST_TEST_KERNEL to a folder with an unpacked linux-image package")
	}
	return images[0], folders[0]
}

// TPM gives QEMU's words for a new software TPM, which ends with the test.
func TPM(t testing.TB) []string {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	dir := filepath.Join(home, "tpm")
	if err := swtpm.Manufacture(t.Context(), swtpm.Config{Dir: dir, CADir: filepath.Join(home, "ca")}); err != nil {
		t.Fatal(err)
	}
	p, err := swtpm.Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return []string{"-chardev", "socket,id=c,path=" + p.ControlSocket(), "-tpmdev", "emulator,id=t,chardev=c", "-device", "tpm-crb,tpmdev=t"}
}

// Program compiles the main package in dir, to run as process 1.
func Program(dir string) ([]byte, error) {
	home, err := os.MkdirTemp("", "program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	out := filepath.Join(home, "program")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, dir)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w: %s", dir, err, said)
	}
	return os.ReadFile(out)
}

// Initrd packs init as process 1, a console for it, and files.
func Initrd(init []byte, files ...cpio.Entry) ([]byte, error) {
	var out bytes.Buffer
	zip, err := zstd.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	archive := cpio.NewWriter(zip, time.Unix(0, 0))
	entries := []cpio.Entry{
		cpio.Dir("dev", 0o755), cpio.Char("dev/console", 0o600, 5, 1),
		cpio.File("init", 0o755, int64(len(init)), bytes.NewReader(init)),
	}
	var errs error
	for _, e := range append(entries, files...) {
		errs = errors.Join(errs, archive.Add(e))
	}
	errs = errors.Join(errs, archive.Close(), zip.Close())
	return out.Bytes(), errs
}

// Modules gives kernel modules and what they need, in the order of loading, as
// /modules/000-NAME.ko and so on.
func Modules(t testing.TB, folder string, names ...string) []cpio.Entry {
	t.Helper()
	tree, err := kmod.Open(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	list, err := tree.Resolve(names...)
	if err != nil {
		t.Fatal(err)
	}
	entries := []cpio.Entry{cpio.Dir("modules", 0o755)}
	for i, m := range list {
		raw, err := os.ReadFile(filepath.Join(folder, m.Path))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, cpio.File(fmt.Sprintf("modules/%03d-%s.ko", i, m.Name), 0o644, int64(len(raw)), bytes.NewReader(raw)))
	}
	return entries
}

// Boot runs a machine without firmware until it is off, and gives what its
// console said. The words are QEMU's, for more devices.
func Boot(t testing.TB, kernel string, initrd []byte, commandLine string, words ...string) string {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), 5*time.Minute)
	defer end()
	out, err := qemu(ctx, t, kernel, initrd, commandLine, words).CombinedOutput()
	if err != nil {
		t.Errorf("QEMU: %v", err)
	}
	return string(out)
}

// Cut ends the power of such a machine a while after its console said something.
func Cut(t testing.TB, said string, after time.Duration, kernel string, initrd []byte, commandLine string, words ...string) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), 5*time.Minute)
	defer end()
	machine := qemu(ctx, t, kernel, initrd, commandLine, words)
	console, err := machine.StdoutPipe()
	if err == nil {
		err = machine.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	heard := false
	for lines := bufio.NewScanner(console); !heard && lines.Scan(); {
		heard = strings.Contains(lines.Text(), said)
		out.WriteString(lines.Text() + "\n")
	}
	if heard {
		time.Sleep(after) // the moment of the cut is what this is about
	}
	_ = machine.Process.Kill()
	_ = machine.Wait() // was killed
	if !heard {
		t.Fatalf("the machine never said %q:\n%s", said, out.String())
	}
}

func qemu(ctx context.Context, t testing.TB, kernel string, initrd []byte, commandLine string, words []string) *exec.Cmd {
	t.Helper()
	tool, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("needs QEMU: apt-get install qemu-system-x86")
	}
	at := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(at, initrd, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", kernel, "-initrd", at, "-append", "console=ttyS0 panic=-1 quiet loglevel=1 cryptomgr.notests no_timer_check " + commandLine}
	return exec.CommandContext(ctx, tool, append(args, words...)...)
}
