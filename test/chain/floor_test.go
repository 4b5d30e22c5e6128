package chain

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/uki"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/machine/machinetest"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/swtpm"
	"holdfast/internal/wiring"
)

const (
	floorMarker = "floor: init runs"
	stubPath    = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
)

// BenchmarkRunOverFloor measures, in turn, a whole run up to its workload's
// first output, and the bare floor under it: the same firmware with Secure
// Boot, TPM, kernel, processors, memory and size of UKI, booting an init that
// prints one line. at-STAGE-s is when the machine said that a stage was done.
func BenchmarkRunOverFloor(b *testing.B) {
	bench := needs(b)
	floor := floorDisk(b, bench)
	var floors, runs, over []time.Duration
	stages := map[string][]time.Duration{}
	for b.Loop() {
		least := bootFloor(b, bench, floor)
		took, report := firstOutput(b, bench)
		floors, runs, over = append(floors, least), append(runs, took), append(over, took-least)
		for _, s := range report.Stages {
			stages[s.Name] = append(stages[s.Name], s.After)
		}
	}
	for name, times := range map[string][]time.Duration{"floor-s": floors, "run-s": runs, "median-over-s": over} {
		b.ReportMetric(quantile(times, 0.5), name)
	}
	b.ReportMetric(quantile(over, 0.9), "p90-over-s")
	for name, times := range stages {
		b.ReportMetric(quantile(times, 0.5), "at-"+name+"-s")
	}
}

func quantile(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return times[min(len(times)-1, int(q*float64(len(times))))].Seconds()
}

func firstOutput(b *testing.B, bench *bench) (time.Duration, *wiring.Report) {
	b.Helper()
	out := machine.NewMarker("Redis server")
	began := time.Now()
	result := start(b, bench, bench.run(b, out))
	after := out.After(began)
	if after == 0 {
		b.Fatalf("the workload printed nothing: %s", result.Outcome)
	}
	return after, result.Report
}

// bootFloor counts from the making of the TPM, as a run does.
func bootFloor(b *testing.B, bench *bench, disk string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir := b.TempDir()
	marker := machine.NewMarker(floorMarker)
	began := time.Now()
	if err := swtpm.Manufacture(ctx, swtpm.Config{Dir: filepath.Join(dir, "tpm"), CADir: bench.builder.Installation.TPMAuthority()}); err != nil {
		b.Fatal(err)
	}
	tpm, err := swtpm.Start(ctx, filepath.Join(dir, "tpm"))
	if err != nil {
		b.Fatal(err)
	}
	q, err := qemu.New(qemu.Config{AccelFile: filepath.Join(bench.builder.Installation.Dir(), "accel.json")})
	if err != nil {
		b.Fatal(err)
	}
	firmware, err := bench.builder.Installation.Firmware(bench.ring)
	if err != nil {
		b.Fatal(err)
	}
	m, err := q.Start(ctx, machine.Spec{Folder: filepath.Join(dir, "m"), Disk: disk, Firmware: &firmware, TPM: tpm, Console: marker})
	if err != nil {
		b.Fatal(err)
	}
	select {
	case <-marker.Seen():
	case <-ctx.Done():
		b.Fatalf("the floor did not boot\n%v", m.Console())
	}
	m.Kill()
	if _, err := m.Wait(context.Background()); err != nil {
		b.Fatal(err)
	}
	return marker.After(began)
}

// floorDisk is the guest's disk with another UKI of the same size.
func floorDisk(t testing.TB, bench *bench) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "floor.img")
	tool(t, "cp", "--sparse=always", bench.guest.DiskPath(), disk)
	made := filepath.Join(t.TempDir(), "floor.efi")
	if err := os.WriteFile(made, floorUKI(t, bench), 0o600); err != nil {
		t.Fatal(err)
	}
	esp := fmt.Sprintf("%s@@%d", disk, partition(t, bench.guest, "esp").Start)
	tool(t, "mcopy", "-o", "-i", esp, made, "::/EFI/BOOT/BOOTX64.EFI")
	return disk
}

func floorUKI(t testing.TB, bench *bench) []byte {
	t.Helper()
	stub, err := os.ReadFile(stubPath)
	if err != nil {
		t.Skip(err, "(apt-get install systemd-boot-efi)")
	}
	raw, err := os.ReadFile(bench.guest.UKIPath())
	if err != nil {
		t.Fatal(err)
	}
	found, err := uki.Sections(raw)
	if err != nil {
		t.Fatal(err)
	}
	sections := []uki.Section{{Name: uki.Cmdline, Data: []byte("console=ttyS0 quiet panic=-1")}}
	for _, s := range found {
		switch s.Name {
		case uki.Linux, uki.OSRelease:
			sections = append(sections, s)
		case uki.Initrd:
			sections = append(sections, uki.Section{Name: uki.Initrd, Data: floorInitrd(t, len(s.Data))})
		}
	}
	made, err := uki.Build(stub, sections)
	if err != nil {
		t.Fatal(err)
	}
	db := bench.ring.Pair(keys.DB)
	signed, err := uki.Sign(made, db.Certificate, db.Key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// floorInitrd holds an init that prints a line, filled up to size with bytes
// that do not compress.
func floorInitrd(t testing.TB, size int) []byte {
	t.Helper()
	init, err := machinetest.Program("./testdata/floor")
	if err != nil {
		t.Fatal(err)
	}
	bare, err := machinetest.Initrd(init)
	if err != nil {
		t.Fatal(err)
	}
	filler := make([]byte, max(0, size-len(bare)-4096))
	_, _ = rand.Read(filler)
	filled, err := machinetest.Initrd(init, cpio.File("filler", 0o644, int64(len(filler)), bytes.NewReader(filler)))
	if err != nil {
		t.Fatal(err)
	}
	return filled
}

func TestTheImageIsSmall(t *testing.T) {
	b := needs(t)
	const limit = 22e6
	if b.guest.UKI.Size > limit {
		t.Fatalf("the UKI has %d bytes, want at most %d", b.guest.UKI.Size, int64(limit))
	}
	info, err := os.Stat(b.builder.Node)
	if err != nil {
		t.Skip(err, "(make build makes it)")
	}
	if info.Size() > 16e6 {
		t.Fatalf("holdfast-node has %d bytes, want at most 16 MB", info.Size())
	}
}
