package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeSys is a sysfs of a root on vda, a second disk, one of a controller that
// hides behind another name, a controller without a driver, and what the kernel
// makes by itself.
func fakeSys(t *testing.T) string {
	t.Helper()
	sys, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const pci = "devices/pci0/"
	files := map[string]string{"bus/pci/drivers_autoprobe": "1", "bus/virtio/drivers_autoprobe": "1", "bus/pci/drivers/d/bind": "",
		pci + "01/virtio0/block/vda/vda1/start": "1", pci + "02/virtio1/block/vdb/size": "9", pci + "03/nvme/nvme0/size": "9", pci + "04/net": "", pci + "05/ata": "",
		"devices/virtual/nvme-subsystem/0/nvme0n1/size": "9", "devices/virtual/block/zram0/size": "9"}
	for name, class := range map[string]string{"01": "0x010000", "02": "0x010000", "03": "0x010802", "04": "0x020000", "05": "0x010601"} {
		files[pci+name+"/class"], files[pci+name+"/remove"] = class+"\n", ""
	}
	for path, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(sys, path)), 0o755), os.WriteFile(filepath.Join(sys, path), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"class/block/vda": pci + "01/virtio0/block/vda", pci + "01/virtio0/block/vda/device": pci + "01/virtio0", "class/block/vda1": pci + "01/virtio0/block/vda/vda1",
		"class/block/zram0": "devices/virtual/block/zram0"}
	for _, name := range []string{"01", "02", "03", "04", "05"} {
		links["bus/pci/devices/"+name] = pci + name
		if name != "05" {
			links[pci+name+"/driver"] = "bus/pci/drivers/d"
		}
	}
	for at, to := range links {
		link(t, sys, at, to)
	}
	return sys
}

func link(t *testing.T, sys, at, to string) {
	t.Helper()
	at = filepath.Join(sys, at)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(filepath.Join(sys, to), at)); err != nil {
		t.Fatal(err)
	}
}

// second puts the second disk where the kernel lists disks, which takes it from
// there when its controller is removed.
func second(t *testing.T, sys string) {
	t.Helper()
	link(t, sys, "class/block/vdb", "devices/pci0/02/virtio1/block/vdb")
	link(t, sys, "devices/pci0/02/virtio1/block/vdb/device", "devices/pci0/02/virtio1")
}

func removed(t *testing.T, sys string) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(sys, "devices/pci0/*/remove"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if text, _ := os.ReadFile(path); string(text) == "1" {
			names = append(names, filepath.Base(filepath.Dir(path)))
		}
	}
	return names
}

func TestControllersOfDisksThatAreNotTheRootsAreRemoved(t *testing.T) {
	sys, said := fakeSys(t), []string{}
	d := devices{sys: sys, disk: "vda", refuse: func(reason string) { said = append(said, reason) }}
	news, err := d.close()
	if err != nil {
		t.Fatal(err)
	}
	defer news.Close()
	for _, bus := range []string{"pci", "virtio"} {
		if got, err := os.ReadFile(filepath.Join(sys, "bus", bus, "drivers_autoprobe")); err != nil || string(got) != "0" {
			t.Errorf("%s: got %q, %v, want 0", bus, got, err)
		}
	}
	if got := removed(t, sys); !slices.Equal(got, []string{"02", "03", "05"}) {
		t.Errorf("removed %q", got)
	}
	if want := []string{`device "02" has a disk that is not this machine's: it is removed`, `device "03" has a disk that is not this machine's: it is removed`}; !slices.Equal(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
}

// A machine that cannot keep a disk out does not go on.
func TestADiskThatStaysIsAnError(t *testing.T) {
	for want, spoil := range map[string]func(t *testing.T, sys string){
		"disk vdb is not this machine's": second,
		"disk nvme0n1 is not this machine's": func(t *testing.T, sys string) {
			link(t, sys, "class/block/nvme0n1", "devices/virtual/nvme-subsystem/0/nvme0n1")
			link(t, sys, "devices/virtual/nvme-subsystem/0/nvme0n1/device", "devices/virtual/nvme-subsystem/0")
		},
		"disk nvme1n2 is not this machine's": func(t *testing.T, sys string) { // a second one of the root's own controller
			link(t, sys, "class/block/nvme1n2", "devices/pci0/01/virtio0/block/nvme1n2")
			link(t, sys, "devices/pci0/01/virtio0/block/nvme1n2/device", "devices/pci0/01/virtio0")
		},
		"has several controllers": func(t *testing.T, sys string) {
			if err := os.Remove(filepath.Join(sys, "devices/pci0/01/virtio0/block/vda/device")); err != nil {
				t.Fatal(err)
			}
			link(t, sys, "devices/pci0/01/virtio0/block/vda/device", "devices/virtual/nvme-subsystem/0")
		},
		"no bus that gives drivers": func(t *testing.T, sys string) {
			for _, bus := range []string{"pci", "virtio"} {
				if err := os.Remove(filepath.Join(sys, "bus", bus, "drivers_autoprobe")); err != nil {
					t.Fatal(err)
				}
			}
		},
		"disk of the root": func(t *testing.T, sys string) {
			if err := os.Remove(filepath.Join(sys, "class/block/vda")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		sys := fakeSys(t)
		spoil(t, sys)
		d := devices{sys: sys, disk: "vda", refuse: func(string) {}}
		if news, err := d.close(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
			if err == nil {
				news.Close()
			}
		}
	}
}

const (
	plugged = "add@/devices/pci0/04\x00ACTION=add\x00DEVPATH=/devices/pci0/04\x00SUBSYSTEM=pci\x00SEQNUM=9\x00"
	newDisk = "add@/devices/pci0/02/virtio1/block/vdb\x00ACTION=add\x00DEVPATH=/devices/pci0/02/virtio1/block/vdb\x00SUBSYSTEM=block\x00"
)

func TestWhatIsPluggedInLaterIsRemoved(t *testing.T) {
	sys, said := fakeSys(t), []string{}
	d := devices{sys: sys, disk: "vda", refuse: func(reason string) { said = append(said, reason) }, had: map[string]bool{filepath.Join(sys, "devices/pci0/01"): true}}
	err := d.watch(&datagrams{left: []any{
		"remove@/devices/pci0/03\x00ACTION=remove\x00DEVPATH=/devices/pci0/03\x00SUBSYSTEM=pci\x00",
		"add@/devices/virtual/net/tun0\x00ACTION=add\x00DEVPATH=/devices/virtual/net/tun0\x00SUBSYSTEM=net\x00",
		"noise", "\x00\x00=\x00ACTION", "ACTION=add\x00SUBSYSTEM=pci\x00DEVPATH=/devices/pci0/gone\x00", plugged,
		"ACTION=add\x00SUBSYSTEM=pci\x00DEVPATH=/devices/pci0/01\x00", // said late of what was there
	}})
	if err != nil {
		t.Error(err)
	}
	if got := removed(t, sys); !slices.Equal(got, []string{"04"}) {
		t.Errorf("removed %q", got)
	}
	if want := []string{`device "gone" came too late: it is removed`, `device "04" came too late: it is removed`}; !slices.Equal(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
}

// News of a disk, or news that was lost, has all looked at again; what cannot be
// heard is an error, and so is a disk that stays.
func TestNoNewsIsLeftOut(t *testing.T) {
	broken := errors.New("broken")
	for what, c := range map[string]struct {
		news    any
		stays   bool
		want    string
		removed []string
	}{
		"a disk":            {news: newDisk, removed: []string{"02", "03", "05"}},
		"a disk that stays": {news: newDisk, stays: true, want: "disk vdb is not this machine's", removed: []string{"02", "03", "05"}},
		"lost":              {news: unix.ENOBUFS, removed: []string{"02", "03", "04", "05"}},
		"lost, and a disk":  {news: unix.ENOBUFS, stays: true, want: "disk vdb is not this machine's", removed: []string{"02", "03", "04", "05"}},
		"unheard":           {news: broken, want: "broken"},
		"ended":             {news: os.ErrClosed},
	} {
		sys := fakeSys(t)
		if c.stays {
			second(t, sys)
		}
		d := devices{sys: sys, disk: "vda", refuse: func(string) {}, had: map[string]bool{filepath.Join(sys, "devices/pci0/01"): true}}
		err := d.watch(&datagrams{left: []any{c.news}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
		if got := removed(t, sys); !slices.Equal(got, c.removed) {
			t.Errorf("%s: removed %q, want %q", what, got, c.removed)
		}
	}
}

// datagrams are texts or errors, read one by one.
type datagrams struct{ left []any }

func (d *datagrams) Read(p []byte) (int, error) {
	if len(d.left) == 0 {
		return 0, os.ErrClosed
	}
	one := d.left[0]
	d.left = d.left[1:]
	if err, bad := one.(error); bad {
		return 0, err
	}
	return copy(p, one.(string)), nil
}

// What is read is what was said.
//
//fuzz:parser devices.go:parseNews
func FuzzNews(f *testing.F) {
	f.Add([]byte(plugged))
	f.Add([]byte(newDisk))
	f.Add([]byte("\x00=\x00a=b=c\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for name, value := range parseNews(raw) {
			if strings.Contains(name, "=") || !strings.Contains("\x00"+string(raw)+"\x00", "\x00"+name+"="+value+"\x00") {
				t.Errorf("%q=%q is not in %q", name, value, raw)
			}
		}
	})
}
