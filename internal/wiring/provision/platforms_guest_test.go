package provision

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/machine/machinetest"
)

// platformModules end with the firmware's files and the disks of SCSI, which the
// machine has later than the others.
var platformModules = []string{"virtio_pci", "virtio_blk", "virtio_scsi", "sr_mod", "udf", "tpm_crb", "tpm_tis", "qemu_fw_cfg", "sd_mod"}

const espConfig = `{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/motd","contents":{"source":"file:///ignition/motd"}}]}}`

// Disks, discs and firmware are QEMU's, the kernel is Debian's.
func TestPlatformsReadTheDevicesOfAMachine(t *testing.T) {
	image, folder := machinetest.Kernel(t)
	devices := append(platformDevices(t, t.TempDir()), machinetest.TPM(t)...)
	said := machinetest.Boot(t, image, platformInitrd(t, folder), "ignition.platform.id=metal ignition.measure=required ignition.report.keep=/var/report.json", devices...)
	for _, want := range []string{"ok: qemu: of a disk", "ok: qemu: of the firmware", "ok: nocloud: of a seed", "ok: openstack: of a config drive",
		"ok: azure: of a DVD", "ok: metal: two configs are one too many", "ok: metal: of a stick", "ok: metal: motd is of the ESP", "ok: the report is kept", "ok: PCR 12 is the config's"} {
		if !strings.Contains(said, want) {
			t.Errorf("want %q", want)
		}
	}
	if strings.Contains(said, "failed") || t.Failed() {
		t.Errorf("the machine said:\n%s", said)
	}
}

// platformDevices are what QEMU is called with, made by the tools that clouds
// use.
func platformDevices(t *testing.T, dir string) []string {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	files := map[string]string{"disk": "of a disk", "firmware": "of the firmware", "nocloud/user-data": "of a seed", "nocloud/meta-data": "instance-id: i",
		"drive/openstack/latest/user_data": "of a config drive", "dvd/ovf-env.xml": "<Environment/>", "dvd/CustomData.bin": "of a DVD",
		"esp/ignition/config.ign": espConfig, "esp/ignition/motd": "of the ESP", "stick.ign": "of a stick"}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, argv := range [][]string{
		{"truncate", "-s", "512", at("disk")},
		{"genisoimage", "-quiet", "-J", "-r", "-V", "cidata", "-o", at("nocloud.iso"), at("nocloud")},
		{"genisoimage", "-quiet", "-J", "-r", "-V", "config-2", "-o", at("drive.iso"), at("drive")},
		{"genisoimage", "-quiet", "-udf", "-V", "ovf", "-o", at("dvd.iso"), at("dvd")},
		{"truncate", "-s", "16M", at("system")}, {"sgdisk", "-n", "1:2048:+8M", "-t", "1:ef00", at("system")},
		{"mkfs.fat", "--offset", "2048", at("system"), "8192"}, {"mcopy", "-s", "-i", at("system") + "@@1M", at("esp/ignition"), "::"},
		{"truncate", "-s", "4M", at("stick")}, {"mkfs.fat", "-n", "IGNITION", at("stick")}, {"mcopy", "-i", at("stick"), at("stick.ign"), "::config.ign"},
	} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Skipf("needs %s: run make test-tools", argv[0])
		}
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	args := []string{"-device", "virtio-scsi-pci", "-fw_cfg", "name=opt/com.coreos/config,file=" + at("firmware"),
		"-drive", "file=" + at("disk") + ",format=raw,if=none,id=c", "-device", "virtio-blk-pci,drive=c,serial=ignition",
		"-drive", "file=" + at("system") + ",format=raw,if=none,id=s", "-device", "virtio-blk-pci,drive=s"}
	args = append(args, "-drive", "file="+at("stick")+",format=raw,if=none,id=stick", "-device", "scsi-hd,drive=stick,removable=on")
	for _, name := range []string{"nocloud", "drive", "dvd"} {
		args = append(args, "-drive", "file="+at(name+".iso")+",format=raw,if=none,media=cdrom,id="+name, "-device", "scsi-cd,drive="+name)
	}
	return args
}

func platformInitrd(t *testing.T, folder string) []byte {
	t.Helper()
	config := cpio.File("config.ign", 0o600, int64(len(espConfig)), strings.NewReader(espConfig))
	init, err := machinetest.Program("./testdata/platforms")
	if err != nil {
		t.Fatal(err)
	}
	packed, err := machinetest.Initrd(init, append(machinetest.Modules(t, folder, platformModules...), config)...)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}
