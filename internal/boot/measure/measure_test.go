package measure_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/boot/measure"
	"holdfast/internal/boot/uki"
)

func stub(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		t.Skip("needs systemd's stub: apt install systemd-boot-efi")
	}
	return b
}

func smallUKI(t *testing.T, cmdline string) []byte {
	t.Helper()
	image, err := uki.Build(stub(t), []uki.Section{
		{Name: uki.OSRelease, Data: []byte("ID=x\n")},
		{Name: uki.Cmdline, Data: []byte(cmdline)},
		{Name: uki.Linux, Data: stub(t)}, // any PE image
		{Name: uki.Initrd, Data: bytes.Repeat([]byte("i"), 5001)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestPCR11EqualsSystemdMeasure(t *testing.T) {
	const tool = "/lib/systemd/systemd-measure"
	if _, err := os.Stat(tool); err != nil {
		t.Skip("needs " + tool + ": apt install systemd")
	}
	image := smallUKI(t, "console=ttyS0")
	args := []string{"calculate", "--bank=sha256", "--phase="}
	sections, err := uki.Sections(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections[len(sections)-4:] {
		path := filepath.Join(t.TempDir(), "section")
		if err := os.WriteFile(path, s.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--"+s.Name[1:]+"="+path)
	}
	out, err := exec.Command(tool, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := measure.Predict(measure.Boot{UKI: image})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("11:sha256=%x", got.PCRs[11]); !strings.Contains(string(out), want) {
		t.Errorf("predicted %s, systemd-measure says %s", want, out)
	}
}

func TestDifferenceIsNamed(t *testing.T) {
	predict := func(cmdline string) []measure.Event {
		p, err := measure.Predict(measure.Boot{UKI: smallUKI(t, cmdline)})
		if err != nil {
			t.Fatal(err)
		}
		return p.Events
	}
	a, b := predict("quiet"), predict("debug")
	if want, got := measure.FirstDifference(11, a, b); want == nil || want.Name != "section .cmdline" || got.Name != want.Name {
		t.Errorf("got %v and %v", want, got)
	}
	if want, got := measure.FirstDifference(11, a, a[:len(a)-1]); want == nil || want.Name != "section .initrd" || got != nil {
		t.Errorf("got %v and %v", want, got)
	}
	if want, got := measure.FirstDifference(7, a, b); want != nil || got != nil {
		t.Errorf("got %v and %v", want, got)
	}
}

func TestUnsignedUKIHasNoPredictionUnderSecureBoot(t *testing.T) {
	keys, _ := newKeys(t)
	if _, err := measure.Predict(measure.Boot{UKI: smallUKI(t, "x"), Keys: &keys}); err == nil {
		t.Error("accepted")
	}
}
