package measure_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/guid"
	"holdfast/internal/boot/measure"
	"holdfast/internal/boot/uki"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/machine/machinetest"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/swtpm"
)

func TestBootedPCRsEqualThePredicted(t *testing.T) {
	b := newBench(t)
	unsigned := testUKI(t, stub(t))
	enrolled, ring := newKeys(t)
	signed, err := uki.Sign(unsigned, enrolled.DB, ring.Pair(keys.DB).Key)
	check(t, err)
	for name, c := range map[string]measure.Boot{
		"secure-boot-on":  {UKI: signed, Keys: &enrolled},
		"secure-boot-off": {UKI: unsigned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := measure.Predict(c)
			check(t, err)
			got := b.boot(t, c.UKI, b.variables(t, c.Keys))
			compare(t, want.PCRs, got.pcrs)
			if dir := os.Getenv("HOLDFAST_TEST_RECORD"); dir != "" {
				got.record(t, filepath.Join(dir, name))
			}
			if c.Keys != nil {
				b.bootAgain(t, c.UKI, got)
			}
		})
	}
}

func compare(t *testing.T, want, got map[int][32]byte) {
	t.Helper()
	for pcr, value := range want {
		if got[pcr] != value {
			t.Errorf("PCR %d: got %x, want %x", pcr, got[pcr], value)
		}
	}
}

// A bench is what boots share.
type bench struct {
	*qemu.QEMU
	firmware machine.Firmware
	tpms     string // the folder of their authority
}

func newBench(t *testing.T) *bench {
	t.Helper()
	q, err := qemu.New(qemu.Config{})
	firmware, missing := qemu.FindFirmware()
	if err := errors.Join(err, missing, swtpm.Installed()); err != nil {
		t.Skipf("boots machines: %v", err)
	}
	return &bench{q, firmware, filepath.Join(t.TempDir(), "ca")}
}

// testUKI is a UKI whose init prints the PCRs, with no word of the kernel's in
// between.
func testUKI(t *testing.T, stub []byte) []byte {
	t.Helper()
	image, _ := machinetest.Kernel(t)
	kernel, err := os.ReadFile(image)
	check(t, err)
	init, err := machinetest.Program("./testdata/init")
	check(t, err)
	initrd, err := machinetest.Initrd(init, cpio.Dir("sys", 0o755))
	check(t, err)
	made, err := uki.Build(stub, []uki.Section{
		{Name: uki.OSRelease, Data: []byte("ID=holdfast-test\n")},
		{Name: uki.Cmdline, Data: []byte("console=ttyS0 loglevel=1 panic=-1")},
		{Name: uki.Linux, Data: kernel},
		{Name: uki.Initrd, Data: initrd},
	})
	check(t, err)
	return made
}

// newKeys are keys for Secure Boot, and the ring with their private halves.
func newKeys(t *testing.T) (efivar.Keys, *keys.Ring) {
	t.Helper()
	r, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	check(t, err)
	return efivar.Keys{
		Owner: guid.GUID{0xab, 1}, PK: r.Pair(keys.PK).Certificate,
		KEK: r.Pair(keys.KEK).Certificate, DB: r.Pair(keys.DB).Certificate,
	}, r
}

// variables is the firmware's store with these keys, or without any.
func (b *bench) variables(t *testing.T, enrolled *efivar.Keys) string {
	t.Helper()
	if enrolled == nil {
		return b.firmware.Vars
	}
	volume, err := os.ReadFile(b.firmware.Vars)
	check(t, err)
	volume, err = efivar.Enroll(volume, *enrolled)
	check(t, err)
	path := filepath.Join(t.TempDir(), "vars.fd")
	check(t, os.WriteFile(path, volume, 0o600))
	return path
}

// disk is an EFI system partition without a table: its UKI is all that
// firmware looks for.
func disk(t *testing.T, image []byte) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	check(t, err)
	check(t, fat.Write(f, fat.Volume{Time: time.Unix(1.7e9, 0), Files: []fat.File{
		{Path: "EFI/BOOT/BOOTX64.EFI", Size: int64(len(image)), Content: bytes.NewReader(image)},
	}}))
	check(t, f.Close())
	return f.Name()
}

// A booted machine has said what it measured.
type booted struct {
	pcrs map[int][32]byte
	log  []byte
	vars string // the variables as the boot left them
}

func (b *bench) boot(t *testing.T, image []byte, vars string) *booted {
	t.Helper()
	dir := t.TempDir()
	tpmDir := filepath.Join(dir, "tpm")
	check(t, swtpm.Manufacture(t.Context(), swtpm.Config{Dir: tpmDir, CADir: b.tpms}))
	tpm, err := swtpm.Start(t.Context(), tpmDir)
	check(t, err)
	firmware := b.firmware
	firmware.Vars = vars
	var console bytes.Buffer
	m, err := b.Start(t.Context(), machine.Spec{
		Folder: filepath.Join(dir, "m"), Disk: disk(t, image), CPUs: 1, Accel: machine.AccelTCG,
		Firmware: &firmware, TPM: tpm, Console: &console,
	})
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	outcome, err := m.Wait(ctx)
	if err != nil || outcome.Reason != machine.PoweredOff {
		m.Kill()
		t.Fatalf("got %s, %v; want a machine that powers off\n%s", outcome, err, strings.Join(m.Console(), "\n"))
	}
	return read(t, console.String(), filepath.Join(dir, "m", qemu.VarsFile))
}

// read takes what ./testdata/init prints out of a console.
func read(t *testing.T, console, vars string) *booted {
	t.Helper()
	got := &booted{pcrs: map[int][32]byte{}, vars: vars}
	for line := range strings.Lines(console) {
		var pcr int
		var value []byte
		if _, err := fmt.Sscanf(line, "PCR %d %x", &pcr, &value); err == nil && len(value) == 32 {
			got.pcrs[pcr] = [32]byte(value)
		}
		if text, ok := strings.CutPrefix(line, "LOG "); ok {
			if log, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err == nil {
				got.log = log
			}
		}
	}
	if len(got.pcrs) != 24 || len(got.log) == 0 {
		t.Fatalf("got %d PCRs and a log of %d bytes from\n%s", len(got.pcrs), len(got.log), console)
	}
	return got
}

// bootAgain boots with the variables that a boot left: firmware has written
// its boot options and its memory map, and must measure as it did.
func (b *bench) bootAgain(t *testing.T, image []byte, first *booted) {
	t.Helper()
	again := b.boot(t, image, first.vars)
	for _, pcr := range []int{1, 5} { // the boot options and the disk's own data
		delete(first.pcrs, pcr)
	}
	compare(t, first.pcrs, again.pcrs)
}

// record keeps what the tests in recorded_test.go read.
func (b *booted) record(t *testing.T, path string) {
	t.Helper()
	var pcrs strings.Builder
	for i := range 24 {
		fmt.Fprintf(&pcrs, "%d %x\n", i, b.pcrs[i])
	}
	check(t, errors.Join(os.WriteFile(path+".log", b.log, 0o644), os.WriteFile(path+".pcrs", []byte(pcrs.String()), 0o644)))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
