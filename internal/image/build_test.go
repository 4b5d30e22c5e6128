package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/blob/dir"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/verity"
	"holdfast/internal/deb"
	"holdfast/internal/gocmd"
	"holdfast/internal/image/recipe"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// A package made here: deb(5).
func makeDeb(t *testing.T, name string, files ...tarFile) []byte {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", makeTar(t, tarFile{"control", "Package: " + name + "\nVersion: 1\nArchitecture: amd64\n"})}, {"data.tar.gz", makeTar(t, files...)}} {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

type tarFile struct {
	name, content string
}

func makeTar(t *testing.T, files ...tarFile) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range files {
		check(t, w.WriteHeader(&tar.Header{Name: "./" + f.name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(f.content))}))
		_, err := w.Write([]byte(f.content))
		check(t, err)
	}
	check(t, errors.Join(w.Close(), z.Close()))
	return out.Bytes()
}

// fetched stands for an archive whose packages are in the store already.
type fetched struct{}

func (fetched) Fetch(context.Context, []deb.Pin) error { return nil }

const helloRecipe = `
name: hello
suite: bookworm
architecture: amd64
packages: [hello]
programs: [{module: ".", package: ./cmd/hello, path: /usr/bin/compiled}]
files: [{path: /etc/hello.conf, content: "x\n"}]
oci: {entrypoint: [/usr/bin/hello]}
machine:
  kernel: linux
  stub: systemd-boot-efi
  init: {module: ".", package: ./cmd/hello}
  cmdline: "console=ttyS0 quiet"
`

// helloOptions are what a build of the recipe above needs, all in one new folder.
func helloOptions(t *testing.T) Options {
	t.Helper()
	root := t.TempDir()
	home := filepath.Join(root, "images", "hello")
	check(t, errors.Join(os.MkdirAll(home, 0o755), os.MkdirAll(filepath.Join(root, "cmd", "hello"), 0o755)))
	for name, content := range map[string]string{
		"go.mod":                   "module hello\n\ngo 1.26\n",
		"cmd/hello/main.go":        "package main\n\nfunc main() { println(\"hello\") }\n",
		"images/hello/recipe.yaml": helloRecipe,
	} {
		check(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	r, err := recipe.Load(home)
	check(t, err)
	digest, err := r.Digest()
	check(t, err)
	store, err := dir.New(filepath.Join(root, "store"))
	check(t, err)
	put := func(name string, files ...tarFile) deb.Pin {
		raw := makeDeb(t, name, files...)
		check(t, store.Put(t.Context(), oci.SHA256(raw), bytes.NewReader(raw)))
		return deb.Pin{Name: name, Version: "1", Architecture: "amd64", Size: int64(len(raw)), SHA256: oci.SHA256(raw).Hex(), Path: "pool/" + name, Suite: "bookworm"}
	}
	stub := installedStub(t)
	lock := &recipe.Lock{Version: 1, Recipe: digest, Suite: "bookworm", Architecture: "amd64", Go: runtime.Version(), Date: date,
		Packages: []deb.Pin{put("hello", tarFile{"bin/hello", "ELF"}, tarFile{"usr/share/doc/hello/copyright", "free\n"})},
		Boot: []deb.Pin{
			put("linux-image-6.1", tarFile{"boot/vmlinuz-6.1", stub}, tarFile{"lib/modules/6.1/kernel/a.ko", "ELF"}),
			put("systemd-boot-efi", tarFile{platforms["amd64"].stub, stub}),
		}}
	return Options{Recipe: r, Lock: lock, Archive: fetched{}, Store: store, Output: filepath.Join(root, "out")}
}

// installedStub also stands for a kernel: both are EFI programs.
func installedStub(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/" + platforms["amd64"].stub)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs /" + platforms["amd64"].stub + ": apt-get install systemd-boot-efi")
	}
	check(t, err)
	return string(raw)
}

// elsewhere changes what a build must not depend on.
func elsewhere(t *testing.T) {
	t.Helper()
	old := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(old) })
	t.Setenv("TZ", "Asia/Kathmandu")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("GOFLAGS", "-buildvcs=true")
	t.Setenv("GOAMD64", "v3")
	t.Chdir(t.TempDir())
}

func TestSameLockSameImageAnywhere(t *testing.T) {
	first, err := BuildOCI(t.Context(), OCIOptions{Options: helloOptions(t)})
	check(t, err)
	elsewhere(t)
	second, err := BuildOCI(t.Context(), OCIOptions{Options: helloOptions(t)})
	check(t, err)
	if first.Dir == second.Dir || first.Digest != second.Digest {
		t.Fatalf("got %s in %s and %s in %s, want one digest in two folders", first.Digest, first.Dir, second.Digest, second.Dir)
	}
}

func TestSameLockSameDiskAnywhere(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "blocks", "hello")
	first, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t), Blocks: kept})
	check(t, err)
	elsewhere(t)
	second, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t), Blocks: kept})
	check(t, err)
	for _, name := range []string{diskFile, ukiFile, referenceFile, sbomFile, provenanceFile, machineFile} {
		if a, b := sum(t, first.Dir, name), sum(t, second.Dir, name); a != b {
			t.Errorf("%s: got %x and %x, want the same bytes", name, a, b)
		}
	}
}

func sum(t *testing.T, elem ...string) [32]byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(elem...))
	check(t, err)
	return sha256.Sum256(raw)
}

func TestDiskHoldsWhatTheDescriptionSays(t *testing.T) {
	built, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t)})
	check(t, err)
	m, err := ReadMachine(built.Dir)
	check(t, err)
	disk, err := os.ReadFile(m.DiskPath())
	check(t, err)
	if oci.SHA256(disk) != m.Disk.Digest || int64(len(disk)) != m.Disk.Size {
		t.Fatalf("disk is %s of %d bytes, image.json says %s of %d", oci.SHA256(disk), len(disk), m.Disk.Digest, m.Disk.Size)
	}
	part := map[string][]byte{}
	for _, p := range m.Disk.Partitions {
		part[p.Name] = disk[p.Start : p.Start+p.Size]
	}
	root := part["root"][:m.Root.Size]
	if oci.SHA256(root) != m.Root.Digest {
		t.Errorf("root is %s, image.json says %s", oci.SHA256(root), m.Root.Digest)
	}
	tree, err := verity.Build(bytes.NewReader(root), verity.Params{Salt: decode(t, m.Recipe.Hex())})
	check(t, err)
	if fmt.Sprintf("%x", tree.Root) != m.RootHash || !strings.HasSuffix(m.Cmdline, " holdfast.roothash="+m.RootHash) {
		t.Errorf("got root hash %x and command line %q, want %s in it", tree.Root, m.Cmdline, m.RootHash)
	}
	listSquashfs(t, root)
	readUKIFromESP(t, part["esp"], m)
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	var b []byte
	_, err := fmt.Sscanf(text, "%x", &b)
	check(t, err)
	return b
}

// listSquashfs lets squashfs-tools say what is in the root.
func listSquashfs(t *testing.T, root []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root")
	check(t, os.WriteFile(path, root, 0o600))
	list := string(run(t, "unsquashfs", "-lln", "-UTC", path))
	for _, want := range []string{
		"drwxr-xr-x 0/0", "-rwxr-xr-x 0/0 3 2026-11-14 09:30 squashfs-root/usr/bin/hello",
		"squashfs-root/usr/bin/compiled", "squashfs-root/bin -> usr/bin",
	} {
		if !strings.Contains(strings.Join(strings.Fields(list), " "), want) {
			t.Errorf("root lists\n%s\nwant a line %q", list, want)
		}
	}
}

// readUKIFromESP lets mtools read the kernel image back.
func readUKIFromESP(t *testing.T, esp []byte, m *Machine) {
	t.Helper()
	needs(t, "mcopy", "mtools")
	path := filepath.Join(t.TempDir(), "esp")
	check(t, os.WriteFile(path, esp, 0o600))
	raw, err := exec.Command("mcopy", "-i", path, "::/"+platforms["amd64"].bootPath, "-").Output()
	check(t, err)
	if oci.SHA256(raw) != m.UKI.Digest || sum(t, m.UKIPath()) != sha256.Sum256(raw) {
		t.Errorf("the EFI system partition has %s, want %s", oci.SHA256(raw), m.UKI.Digest)
	}
}

func TestReferenceValuesSpeakOfTheImage(t *testing.T) {
	firmware := filepath.Join(t.TempDir(), "code.fd")
	check(t, os.WriteFile(firmware, []byte("firmware"), 0o600))
	m, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t), Firmware: []string{firmware}})
	check(t, err)
	raw, err := os.ReadFile(m.ReferencePath())
	check(t, err)
	envelope, err := sign.ParseEnvelope(raw)
	check(t, err)
	statement, err := sign.Peek(envelope)
	check(t, err)
	var values api.ReferenceValues
	check(t, json.Unmarshal(statement.Predicate, &values))
	if values.Image != "hello" || values.RootHash != m.RootHash || values.UKI != string(m.UKI.Digest) || len(values.PCRs["11"]) != 64 {
		t.Errorf("got %+v, want the values of %+v", values, m)
	}
	if values.PCRs["12"] != strings.Repeat("0", 64) {
		t.Errorf("PCR 12: got %s, want zeros", values.PCRs["12"])
	}
	if len(values.Firmware) != 1 || values.Firmware[0].Firmware != string(oci.SHA256([]byte("firmware"))) || values.Firmware[0].PCRs["4"] == "" {
		t.Errorf("got %+v, want PCRs for the firmware", values.Firmware)
	}
	if statement.Subject[0].Digest["sha256"] != m.Disk.Digest.Hex() {
		t.Errorf("got subject %+v, want the disk", statement.Subject[0])
	}
}

func TestOtherToolchainIsRefused(t *testing.T) {
	o := helloOptions(t)
	o.Lock.Go = "go1.2.3"
	_, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	var toolchain *ToolchainError
	if !errors.As(err, &toolchain) || toolchain.Want != "go1.2.3" {
		t.Fatalf("got %v, want a ToolchainError", err)
	}
}

func TestMissingToolIsNamedWithItsPackage(t *testing.T) {
	o := MachineOptions{Options: helloOptions(t)}
	o.Go = "no-such-go"
	var missing *gocmd.MissingError
	_, err := BuildMachine(t.Context(), o)
	if !errors.As(err, &missing) || missing.Tool != "no-such-go" || missing.Hint() == "" {
		t.Fatalf("got %v, want a MissingError", err)
	}
	if _, err := os.Lstat(o.Output); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want no output", err)
	}
}

func TestRottenPackageIsRefused(t *testing.T) {
	o := helloOptions(t)
	o.Lock.Packages[0].SHA256 = strings.Repeat("0", 64)
	_, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	if err == nil || !strings.Contains(err.Error(), "unpack hello 1: ") {
		t.Fatalf("got %v, want the package named", err)
	}
}

// secureBoot is a set of keys as "holdfast key init" makes them.
func secureBoot(t *testing.T) *Keys {
	t.Helper()
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), date)
	check(t, err)
	cert := func(name string) *x509.Certificate { return ring.Pair(name).Certificate }
	return &Keys{
		Enrolled: efivar.Keys{PK: cert(keys.PK), KEK: cert(keys.KEK), DB: cert(keys.DB)},
		DB:       ring.Pair(keys.DB).Key,
	}
}

func TestKeysChangeTheSignatureAndNotTheRoot(t *testing.T) {
	needs(t, "sbverify", "sbsigntool")
	plain, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t)})
	check(t, err)
	k := secureBoot(t)
	signed, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t), Keys: k})
	check(t, err)
	again, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t), Keys: k})
	check(t, err)
	if plain.RootHash != signed.RootHash || plain.UKI.Digest == signed.UKI.Digest || !signed.Signed {
		t.Errorf("got %+v and %+v, want one root and two kernel images", plain, signed)
	}
	if signed.Disk.Digest != again.Disk.Digest {
		t.Errorf("got disks %s and %s with the same keys, want one", signed.Disk.Digest, again.Disk.Digest)
	}
	cert := filepath.Join(t.TempDir(), "db.pem")
	check(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Enrolled.DB.Raw}), 0o600))
	run(t, "sbverify", "--cert", cert, signed.UKIPath())
}
