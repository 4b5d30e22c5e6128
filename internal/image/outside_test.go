package image

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/sign"
)

// A disk as it is built and signed, taken apart by other programs alone: its
// table, file system, hash tree, root, signature, sections and measurement.
func TestToolsOfOthersAcceptTheWholeDisk(t *testing.T) {
	for tool, pkg := range map[string]string{"sgdisk": "gdisk", "sfdisk": "fdisk", "fsck.fat": "dosfstools", "mcopy": "mtools", "veritysetup": "cryptsetup-bin",
		"unsquashfs": "squashfs-tools", "sbverify": "sbsigntool", "objdump": "binutils", "objcopy": "binutils", "/lib/systemd/systemd-measure": "systemd"} {
		needs(t, tool, pkg)
	}
	k := secureBoot(t)
	m, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t), Keys: k})
	check(t, err)
	if out := string(run(t, "sgdisk", "-v", m.DiskPath())); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	run(t, "sfdisk", "--verify", m.DiskPath())

	part := partitionFiles(t, m)
	run(t, "fsck.fat", "-n", part["esp"])
	run(t, "veritysetup", "verify", part["root"], part["root-verity"], m.RootHash, fmt.Sprintf("--data-blocks=%d", m.Root.Size/4096))
	run(t, "unsquashfs", "-d", filepath.Join(t.TempDir(), "root"), part["root"])

	uki := filepath.Join(t.TempDir(), "uki.efi")
	run(t, "mcopy", "-i", part["esp"], "::/"+platforms["amd64"].bootPath, uki)
	cert := filepath.Join(t.TempDir(), "db.pem")
	check(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Enrolled.DB.Raw}), 0o600))
	run(t, "sbverify", "--cert", cert, uki)
	if got, want := measured(t, uki), referencePCR(t, m, "11"); got != want {
		t.Errorf("systemd-measure expects PCR 11 %s, the reference values say %s", got, want)
	}
}

// partitionFiles cuts the disk as its description says.
func partitionFiles(t *testing.T, m *Machine) map[string]string {
	t.Helper()
	disk, err := os.ReadFile(m.DiskPath())
	check(t, err)
	files := map[string]string{}
	for _, p := range m.Disk.Partitions {
		files[p.Name] = filepath.Join(t.TempDir(), p.Name)
		check(t, os.WriteFile(files[p.Name], disk[p.Start:p.Start+p.Size], 0o600))
	}
	return files
}

// measured lets objdump find the sections, objcopy take them out and
// systemd-measure compute what the stub would extend.
func measured(t *testing.T, uki string) string {
	t.Helper()
	headers := string(run(t, "objdump", "-h", uki))
	args := []string{"calculate", "--bank=sha256", "--phase="}
	for _, name := range []string{".osrel", ".cmdline", ".linux", ".initrd"} {
		if !strings.Contains(headers, name) {
			t.Errorf("objdump finds no %s:\n%s", name, headers)
		}
		path := filepath.Join(t.TempDir(), name[1:])
		run(t, "objcopy", "-O", "binary", "--dump-section", name+"="+path, uki, path+".rest")
		args = append(args, "--"+name[1:]+"="+path)
	}
	_, value, _ := strings.Cut(strings.TrimSpace(string(run(t, "/lib/systemd/systemd-measure", args...))), "11:sha256=")
	return value
}

func referencePCR(t *testing.T, m *Machine, number string) string {
	t.Helper()
	raw, err := os.ReadFile(m.ReferencePath())
	check(t, err)
	envelope, err := sign.ParseEnvelope(raw)
	check(t, err)
	statement, err := sign.Peek(envelope)
	check(t, err)
	var values api.ReferenceValues
	check(t, json.Unmarshal(statement.Predicate, &values))
	return values.PCRs[number]
}
