package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeSys is a sysfs of a root on vda, a second disk, a SCSI disk below a
// controller that has a driver, too, and what the kernel makes by itself.
func fakeSys(t *testing.T) string {
	t.Helper()
	sys, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"bus/pci/drivers_autoprobe": "1", "bus/virtio/drivers_autoprobe": "1",
		"bus/virtio/drivers/virtio_blk/unbind": "", "bus/scsi/drivers/sd/unbind": "", "bus/pci/drivers/ahci/unbind": "",
		"devices/pci/virtio1/block/vda/size": "9", "devices/pci/virtio1/block/vda/vda1/start": "1", "devices/pci/virtio2/block/vdb/size": "9",
		"devices/ahci/host/target/block/sda/size": "9", "devices/virtual/block/zram0/size": "9",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(sys, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(at, to string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(sys, at)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(sys, to), filepath.Join(sys, at)); err != nil {
			t.Fatal(err)
		}
	}
	for disk, device := range map[string]string{"vda": "devices/pci/virtio1", "vdb": "devices/pci/virtio2", "sda": "devices/ahci/host/target"} {
		link(device+"/block/"+disk+"/device", device)
		link("class/block/"+disk, device+"/block/"+disk)
	}
	link("class/block/vda1", "devices/pci/virtio1/block/vda/vda1")
	link("class/block/zram0", "devices/virtual/block/zram0")
	link("devices/pci/virtio1/driver", "bus/virtio/drivers/virtio_blk")
	link("devices/pci/virtio2/driver", "bus/virtio/drivers/virtio_blk")
	link("devices/ahci/host/target/driver", "bus/scsi/drivers/sd")
	link("devices/ahci/driver", "bus/pci/drivers/ahci")
	return sys
}

func TestDisksThatAreNotTheRootsAreDetached(t *testing.T) {
	sys, said := fakeSys(t), []string{}
	d := devices{sys, "vda", func(reason string) { said = append(said, reason) }}
	events, err := d.close()
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	for path, want := range map[string]string{
		"bus/pci/drivers_autoprobe": "0", "bus/virtio/drivers_autoprobe": "0",
		"bus/virtio/drivers/virtio_blk/unbind": "virtio2", "bus/scsi/drivers/sd/unbind": "target", "bus/pci/drivers/ahci/unbind": "",
	} {
		if got, err := os.ReadFile(filepath.Join(sys, path)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	if want := []string{"disk sda is not this machine's: it is detached", "disk vdb is not this machine's: it is detached"}; !slices.Equal(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
}

// A machine that cannot keep a disk out does not go on.
func TestADiskThatStaysIsAnError(t *testing.T) {
	for _, gone := range []string{"devices/pci/virtio2/driver", "bus"} {
		sys := fakeSys(t)
		if err := os.RemoveAll(filepath.Join(sys, gone)); err != nil {
			t.Fatal(err)
		}
		d := devices{sys, "vda", func(string) {}}
		if events, err := d.close(); err == nil {
			t.Errorf("without %s: got no error", gone)
			events.Close()
		}
	}
}

func TestWhatIsPluggedInLaterIsToldOf(t *testing.T) {
	sys, said := fakeSys(t), []string{}
	d := devices{sys, "vda", func(reason string) { said = append(said, reason) }}
	var events []string
	for _, e := range []string{
		"add@/devices/pci/0000:01:00.0\x00ACTION=add\x00DEVPATH=/devices/pci/0000:01:00.0\x00SUBSYSTEM=pci\x00SEQNUM=9\x00",
		"remove@/devices/pci/0000:01:00.0\x00ACTION=remove\x00DEVPATH=/devices/pci/0000:01:00.0\x00SUBSYSTEM=pci\x00",
		"add@/devices/pci/virtio1/block/vda\x00ACTION=add\x00DEVPATH=/devices/pci/virtio1/block/vda\x00SUBSYSTEM=block\x00",
		"add@/devices/pci/virtio2/block/vdb\x00ACTION=add\x00DEVPATH=/devices/pci/virtio2/block/vdb\x00SUBSYSTEM=block\x00",
		"add@/devices/virtual/net/tun0\x00ACTION=add\x00DEVPATH=/devices/virtual/net/tun0\x00SUBSYSTEM=net\x00",
		"", "noise", "\x00\x00=\x00ACTION", "ACTION=add\x00SUBSYSTEM=block\x00DEVPATH=/gone\x00",
	} {
		events = append(events, e)
	}
	d.watch(&datagrams{events})
	if want := []string{`device "0000:01:00.0" came too late: no driver is given to it`, "disk vdb is not this machine's: it is detached"}; !slices.Equal(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
	if got, err := os.ReadFile(filepath.Join(sys, "bus/virtio/drivers/virtio_blk/unbind")); err != nil || string(got) != "virtio2" {
		t.Errorf("got %q, %v", got, err)
	}
}

// datagrams are read one by one.
type datagrams struct{ left []string }

func (d *datagrams) Read(p []byte) (int, error) {
	if len(d.left) == 0 {
		return 0, os.ErrClosed
	}
	one := d.left[0]
	d.left = d.left[1:]
	return strings.NewReader(one + "\x00").Read(p)
}
