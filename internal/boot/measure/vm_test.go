package measure

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
	"holdfast/internal/boot/uki"
)

const (
	stubPath     = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	ovmf         = "/usr/share/OVMF/"
	secureCode   = ovmf + "OVMF_CODE_4M.secboot.fd"
	emptyVolume  = ovmf + "OVMF_VARS_4M.fd"
	bootDeadline = 3 * time.Minute
)

// needVM skips unless everything for a boot is here, and returns the kernel.
func needVM(t *testing.T) []byte {
	t.Helper()
	pattern := os.Getenv("HOLDFAST_TEST_KERNEL")
	found, _ := filepath.Glob(filepath.Join(pattern, "boot/vmlinuz-*"))
	if pattern == "" || len(found) == 0 {
		t.Skip("boots a machine: set HOLDFAST_TEST_KERNEL to a folder with an unpacked linux-image package")
	}
	for _, tool := range []string{"qemu-system-x86_64", "swtpm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: apt install qemu-system-x86 swtpm", tool)
		}
	}
	for _, path := range []string{stubPath, secureCode} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("needs %s: apt install systemd-boot-efi ovmf", path)
		}
	}
	kernel, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return kernel
}

// testUKI is a UKI whose init prints the PCRs.
func testUKI(t *testing.T, kernel []byte) []byte {
	t.Helper()
	init := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", init, "./testdata/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	stub, err := os.ReadFile(stubPath)
	if err != nil {
		t.Fatal(err)
	}
	image, err := uki.Build(stub, []uki.Section{
		{Name: uki.OSRelease, Data: []byte("ID=holdfast-test\n")},
		{Name: uki.Cmdline, Data: []byte("console=ttyS0 quiet panic=-1")},
		{Name: uki.Linux, Data: kernel},
		{Name: uki.Initrd, Data: initramfs(t, init)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func initramfs(t *testing.T, init string) []byte {
	t.Helper()
	program, err := os.ReadFile(init)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := cpio.NewWriter(z, time.Unix(0, 0))
	for _, e := range []cpio.Entry{
		cpio.Dir("dev", 0o755), cpio.Char("dev/console", 0o600, 5, 1),
		cpio.Dir("proc", 0o755), cpio.Dir("sys", 0o755),
		cpio.File("init", 0o755, int64(len(program)), bytes.NewReader(program)),
	} {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// disk is a file with one ESP that holds image.
func disk(t *testing.T, image []byte) string {
	t.Helper()
	esp := fat.Volume{Label: "ESP", ID: 1, Time: time.Unix(1.7e9, 0),
		Files: []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Size: int64(len(image)), Content: bytes.NewReader(image)}}}
	size, err := esp.ImageSize()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(fat.Write(w, esp)) }()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = gpt.Write(f, gpt.Disk{GUID: guid.GUID{1}, Partitions: []gpt.Partition{
		{Name: "esp", Type: gpt.TypeESP, GUID: guid.GUID{2}, Size: size, Content: r}}})
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// A console is what a boot printed.
type console struct {
	pcrs    map[int][32]byte
	log     []byte
	refused bool // firmware said Access Denied
	lines   []string
	init    time.Duration // until init ran
	vars    []byte        // the variables as the boot left them
}

// boot starts a machine with Secure Boot's firmware on a copy of vars and
// waits until it powers off or firmware refuses.
func boot(t *testing.T, disk string, vars []byte) *console {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootDeadline)
	defer cancel()
	dir := t.TempDir()
	varsPath, socket := filepath.Join(dir, "vars.fd"), filepath.Join(dir, "tpm.sock")
	if err := os.WriteFile(varsPath, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	tpm := exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--terminate",
		"--tpmstate", "dir="+dir, "--ctrl", "type=unixio,path="+socket)
	start(t, tpm)
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	vm := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(disk, varsPath, socket)...)
	out, err := vm.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, vm)
	c := watch(t, out)
	_ = vm.Process.Kill()
	if c.vars, err = os.ReadFile(varsPath); err != nil {
		t.Fatal(err)
	}
	return c
}

func qemuArgs(disk, vars, tpm string) []string {
	return []string{
		"-machine", "q35,smm=on,accel=tcg", "-cpu", "max", "-m", "1024", "-nodefaults", "-display", "none", "-serial", "stdio",
		"-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + secureCode,
		"-drive", "if=pflash,unit=1,format=raw,file=" + vars,
		"-drive", "if=none,id=disk,format=raw,file=" + disk,
		"-device", "virtio-blk-pci,drive=disk,bootindex=0",
		"-chardev", "socket,id=tpm,path=" + tpm,
		"-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0",
	}
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// watch reads the serial console.
func watch(t *testing.T, r io.Reader) *console {
	t.Helper()
	began := time.Now()
	c := &console{pcrs: map[int][32]byte{}}
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		c.lines = append(c.lines, line)
		switch word := strings.Fields(line); {
		case strings.Contains(line, "Access Denied"):
			c.refused = true
			return c
		case len(word) < 2 || word[0] != "CHECK":
		case word[1] == "done":
			return c
		case word[1] == "error":
			t.Error(line)
		case word[1] == "cmdline":
			c.init = time.Since(began)
		case word[1] == "pcr" && len(word) == 4:
			c.addPCR(t, word[2], word[3])
		case word[1] == "log" && len(word) == 3:
			c.log, _ = base64.StdEncoding.DecodeString(word[2])
		}
		if err != nil {
			t.Fatalf("the machine ended early: %v\n%s", err, strings.Join(c.lines[max(0, len(c.lines)-30):], ""))
		}
	}
}

func (c *console) addPCR(t *testing.T, number, value string) {
	t.Helper()
	var n int
	_, err := fmt.Sscan(number, &n)
	b, err2 := hex.DecodeString(value)
	if err != nil || err2 != nil || len(b) != 32 {
		t.Fatalf("PCR %s: %q", number, value)
	}
	c.pcrs[n] = [32]byte(b)
}
