package chain

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/deb/debtest"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

const mib = 1 << 20

// soak says whether the whole is wanted, not a sample.
func soak() bool { return os.Getenv("HOLDFAST_SOAK") != "" }

// The image is encrypted: it is pulled, decrypted, unpacked, and read again
// byte by byte in a machine that has 64 MiB more than it.
func TestAnImageFitsIntoItsSizeAnd64MiB(t *testing.T) {
	b := needs(t)
	size, noise := 160, 0
	if soak() {
		size, noise = 1024, 50
	}
	weighed := b.weigh(t, size*mib, noise, size+64)
	if want := fmt.Sprintf("processors %d\n", weighers); !bytes.Contains(weighed, []byte(want)) {
		t.Errorf("got %s, want %s", weighed, want)
	}
	if want := fmt.Sprintf("bytes %d ", size*mib); !bytes.Contains(weighed, []byte(want)) || !bytes.Contains(weighed, []byte("error <nil>")) {
		t.Fatalf("got %s, want %s", weighed, want)
	}
	t.Logf("%s", weighed)
}

// Nothing of it can be held compressed.
func TestAnImageOfNoiseFitsIntoItsSizeAnd128MiB(t *testing.T) {
	if !soak() {
		t.Skip("boots one more machine: HOLDFAST_SOAK=1 runs it")
	}
	const size = 256
	weighed := needs(t).weigh(t, size*mib, 100, size+128)
	if want := fmt.Sprintf("bytes %d ", size*mib); !bytes.Contains(weighed, []byte(want)) || !bytes.Contains(weighed, []byte("error <nil>")) {
		t.Fatalf("got %s, want %s", weighed, want)
	}
	t.Logf("%s", weighed)
}

// Beside the workload are firmware, kernel, process 1 and what the kernel
// keeps for its devices.
func TestAnIdleMachineTakesAtMost128MiB(t *testing.T) {
	if !soak() {
		t.Skip("boots one more machine: HOLDFAST_SOAK=1 runs it")
	}
	b := needs(t)
	const given = 512
	weighed := b.weigh(t, mib, 0, given)
	m := regexp.MustCompile(`MemAvailable: +(\d+) kB`).FindSubmatch(weighed)
	if m == nil {
		t.Fatalf("got %s, want MemAvailable", weighed)
	}
	available, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	taken := given - available/1024
	t.Logf("%d of %d MiB are taken\n%s", taken, given, weighed)
	if taken > 128 {
		t.Errorf("%d MiB are taken, want at most 128", taken)
	}
}

// weighers is how many processors a machine of weigh has.
const weighers = 2

// weigh runs an encrypted image of size bytes that weighs itself in a machine
// of memory MiB, and gives what it printed.
func (b *bench) weigh(t *testing.T, size, noise, memory int) []byte {
	t.Helper()
	var out bytes.Buffer
	r := b.run(t, &out)
	r.Image, r.Entrypoint, r.Args = "oci:"+b.encrypted(t, b.bulk(t, size, noise)), nil, nil
	r.Memory, r.CPUs, r.Guest = memory, weighers, b.guest.Dir
	result := start(t, b, r)
	if o := result.Outcome; o.Reason != machine.PoweredOff || o.Exit == nil || *o.Exit != (api.ExitDetail{}) {
		t.Fatalf("got %s\n%s\n%v", o, out.String(), o.Console)
	}
	return out.Bytes()
}

// bulk is an image of size bytes whose program weighs them.
func (b *bench) bulk(t *testing.T, size, noise int) string {
	t.Helper()
	return b.composed(t, "weigh", size, noise)
}

// composed is an image of size bytes beside one of the programs in testdata.
func (b *bench) composed(t *testing.T, program string, size, noise int) string {
	t.Helper()
	recipe := t.TempDir()
	t.Setenv("CGO_ENABLED", "0")
	tool(t, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(recipe, program), "./testdata/"+program)
	a := debtest.New(t)
	packages := ""
	for _, name := range a.AddBulk("bookworm", size, noise) {
		packages += name + ", "
	}
	at := "/usr/bin/" + program
	text := "name: bulk\nsuite: bookworm\narchitecture: amd64\npackages: [" + packages + "]\n" +
		"files: [{path: " + at + ", source: " + program + ", mode: 0755}]\noci: {entrypoint: [" + at + "]}\n"
	if err := os.WriteFile(filepath.Join(recipe, "recipe.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	builder := b.builder
	builder.Sources = wiring.Sources{Mirror: a.URL, Keyring: a.Keyring}
	if _, _, err := builder.Lock(t.Context(), recipe, ""); err != nil {
		t.Fatal(err)
	}
	l, err := wiring.LoadLocked(recipe, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := builder.OCI(t.Context(), l, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
