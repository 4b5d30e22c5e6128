package disks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/ignition/probe"
)

const aUUID = "8a7a6e26-5e8f-4cca-a654-46215d4696ac"

func TestFilesystemsAreMadeAndUsedAgain(t *testing.T) {
	for _, c := range []struct {
		size   int64
		fields string
		want   probe.Found
	}{
		{16, `"format":"ext4","label":"data","uuid":"` + aUUID + `"`, probe.Found{Type: "ext4", Label: "data", UUID: aUUID}},
		{320, `"format":"xfs","label":"data","uuid":"` + aUUID + `","options":["-m","crc=1"]`, probe.Found{Type: "xfs", Label: "data", UUID: aUUID}},
		{128, `"format":"btrfs","label":"data","uuid":"` + strings.ToUpper(aUUID) + `"`, probe.Found{Type: "btrfs", Label: "data", UUID: aUUID}},
		{16, `"format":"vfat","label":"DATA","uuid":"A1B2-C3D4"`, probe.Found{Type: "vfat", Label: "DATA", UUID: "A1B2-C3D4"}},
		{16, `"format":"vfat","uuid":"a1b2c3d4"`, probe.Found{Type: "vfat", UUID: "A1B2-C3D4"}},
		{16, `"format":"swap","label":"swap","uuid":"` + aUUID + `"`, probe.Found{Type: "swap", Label: "swap", UUID: aUUID}},
		{16, `"format":"none"`, probe.Found{}},
	} {
		t.Run(c.fields, func(t *testing.T) {
			path := makeDisk(t, c.size, nil)
			config := storage(t, `{"filesystems":[{"device":%q,%s}]}`, path, c.fields)
			if err := newStage(t).Run(context.Background(), config); errors.Is(err, ErrNoProgram) {
				t.Skipf("%v: run make test-tools", err)
			} else if err != nil {
				t.Fatal(err)
			}
			got, err := probeDevice(path)
			if err != nil || got.Type != c.want.Type || got.Label != c.want.Label || got.UUID != c.want.UUID {
				t.Errorf("got %q %q %q, %v; want %+v", got.Type, got.Label, got.UUID, err, c.want)
			}
			overwrite(t, path, c.size*mib-4096, []byte("somebody's data"))
			before, _ := os.ReadFile(path)
			if err := newStage(t).Run(context.Background(), config); err != nil {
				t.Fatalf("again: %v", err)
			}
			if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
				t.Error("a second run changed the filesystem")
			}
		})
	}
}

// Every other filesystem than the wanted one is left alone, to the byte.
func TestFilesystemsThatAreInTheWayAreRefused(t *testing.T) {
	for _, c := range []struct{ fields, says string }{
		{`"format":"xfs"`, `ext4, label "mine"`},
		{`"format":"none"`, "ext4"},
		{`"format":"ext4","label":"other"`, `label "mine"`},
		{`"format":"ext4","uuid":"11111111-5e8f-4cca-a654-46215d4696ac"`, aUUID},
		{`"format":"zfs","wipeFilesystem":true`, `format "zfs": want`},
		{`"format":"ext4","wipeFilesystem":false,"label":"x"`, "a wipe was not asked for"},
	} {
		t.Run(c.fields, func(t *testing.T) {
			path := makeDisk(t, 16, nil)
			mkfs(t, "mkfs.ext4", "-q", "-F", "-L", "mine", "-U", aUUID, path)
			refuses(t, path, storage(t, `{"filesystems":[{"device":%q,%s}]}`, path, c.fields), c.says)
		})
	}
}

func TestWipedFilesystemsGiveWay(t *testing.T) {
	for _, format := range []string{"ext4", "vfat", "swap", "none"} {
		path := makeDisk(t, 128, nil)
		mkfs(t, "mkfs.btrfs", "-q", path)
		if err := newStage(t).Run(context.Background(), storage(t, `{"filesystems":[{"device":%q,"format":%q,"wipeFilesystem":true}]}`, path, format)); err != nil {
			t.Fatal(err)
		}
		want := format
		if format == "none" {
			want = ""
		}
		if got, err := probeDevice(path); err != nil || got.Type != want {
			t.Errorf("got %q, %v; want %q", got.Type, err, want)
		}
	}
}

// upstream calls it filesystem.reuse.ambivalent: the first signature counts.
func TestOfSeveralSignaturesTheFirstCounts(t *testing.T) {
	path := makeDisk(t, 16, nil)
	mkfs(t, "mkfs.ext4", "-q", "-F", path)
	overwrite(t, path, 1024+0x400+6, []byte{0x34, 0x34})
	overwrite(t, path, 32768+1, []byte("CD001"))
	for at := range int64(8) {
		overwrite(t, path, 128<<10+at*1024, []byte("\x0c\xb1\xba\x00\x00\x00\x00\x00"))
	}
	if _, err := probeDevice(path); !errors.Is(err, probe.ErrAmbivalent) {
		t.Fatalf("got %v", err)
	}
	if err := newStage(t).Run(context.Background(), storage(t, `{"filesystems":[{"device":%q,"format":"ext4"}]}`, path)); err != nil {
		t.Error(err)
	}
	refuses(t, path, storage(t, `{"filesystems":[{"device":%q,"format":"vfat"}]}`, path), "ext4")
}

func TestAFailingMkfsIsQuoted(t *testing.T) {
	path := makeDisk(t, 16, nil)
	err := newStage(t).Run(context.Background(), storage(t, `{"filesystems":[{"device":%q,"format":"ext4","options":["--no-such-option"]}]}`, path))
	if err == nil || !strings.Contains(err.Error(), "$.storage.filesystems[0]") || !strings.Contains(err.Error(), "mkfs.ext4") {
		t.Errorf("got %v", err)
	}
}

// recorder stands for mdadm: it needs a kernel with md. The guest's test runs
// the real one.
type recorder struct{ commands []Command }

func (r *recorder) run(_ context.Context, c Command) ([]byte, error) {
	r.commands = append(r.commands, c)
	return nil, nil
}

func TestArraysAreMadeWithUpstreamsWords(t *testing.T) {
	var r recorder
	a, b, array := makeDisk(t, 1, nil), makeDisk(t, 1, nil), makeDisk(t, 1, nil)
	s := newStage(t)
	s.Exec = r.run
	// The array's node must appear: a file under /dev/ would need root, so the wait fails.
	err := s.Run(context.Background(), storage(t, `{"raid":[{"name":"no-such-array","level":"raid1","spares":1,"devices":[%q,%q,%q],"options":["--assume-clean"]}]}`, a, b, array))
	if !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "/dev/md/no-such-array") {
		t.Errorf("got %v", err)
	}
	want := fmt.Sprintf("--create no-such-array --force --run --homehost any --level raid1 --raid-devices 2 --spare-devices 1 --assume-clean %s %s %s", s.alias(a), s.alias(b), s.alias(array))
	if len(r.commands) != 1 || strings.Join(r.commands[0].Args, " ") != want {
		t.Errorf("got %v, want %s", r.commands, want)
	}
}

func TestMembersWithDataAreRefused(t *testing.T) {
	a, b := makeDisk(t, 16, nil), makeDisk(t, 16, nil)
	mkfs(t, "mkfs.ext4", "-q", "-F", b)
	refuses(t, b, storage(t, `{"raid":[{"name":"md0","level":"raid1","devices":[%q,%q]}]}`, a, b), "ext4")
}

func TestNamesOfLinksAreUdevs(t *testing.T) {
	for label, want := range map[string]string{"ROOT": "ROOT", "EFI SYS": `EFI\x20SYS`, "a/b": `a\x2fb`, "käse": "käse", "\xff": `\xff`} {
		if got := encode(label); got != want {
			t.Errorf("%q: got %s, want %s", label, got, want)
		}
	}
}
