package repro

import (
	"archive/tar"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"holdfast/internal/boot/squashfs"
	"holdfast/internal/image"
)

// An image for arm64 is composed here, on whatever this is, and every tool that
// knows a part of it agrees.
func TestToolsAgreeOnImagesOfBothArchitectures(t *testing.T) {
	for tool, pkg := range map[string]string{"sqfstar": "squashfs-tools", "unsquashfs": "squashfs-tools", "sgdisk": "gdisk",
		"fsck.fat": "dosfstools", "mdir": "mtools", "veritysetup": "cryptsetup-bin"} {
		needs(t, tool, pkg)
	}
	s := newShop(t, machineRecipe)
	s.run(t, variant{}, s.state, "image", "lock", s.recipe, "--arch", "arm64")
	for arch, want := range map[string]struct {
		root, boot string
		machine    elf.Machine
	}{
		"amd64": {"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "BOOTX64", elf.EM_X86_64},
		"arm64": {"B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "BOOTAA64", elf.EM_AARCH64},
	} {
		t.Run(arch, func(t *testing.T) {
			built := filepath.Join(t.TempDir(), "out")
			s.run(t, variant{}, s.state, "image", "build", s.recipe, "--arch", arch, "--format", "machine", "-o", built)
			m, err := image.ReadMachine(built)
			check(t, err)
			if m.Architecture != arch {
				t.Errorf("image.json says %s", m.Architecture)
			}
			part := split(t, m)
			says(t, "No problems found", "sgdisk", "-v", m.DiskPath())
			says(t, want.root, "sgdisk", "-i", "2", m.DiskPath())
			says(t, "files, ", "fsck.fat", "-n", part["esp"])
			says(t, want.boot, "mdir", "-i", part["esp"], "::EFI/BOOT")
			says(t, "", "veritysetup", "verify", part["root"], part["root-verity"], m.RootHash)
			program := compareRoot(t, part["root"])
			if program != want.machine {
				t.Errorf("the recipe's Go program is for %v, want %v", program, want.machine)
			}
		})
	}
}

// split makes a file of each partition; the root's ends where its data does.
func split(t *testing.T, m *image.Machine) map[string]string {
	t.Helper()
	disk, err := os.Open(m.DiskPath())
	check(t, err)
	defer disk.Close()
	paths := map[string]string{}
	for _, p := range m.Disk.Partitions {
		size := p.Size
		if p.Name == "root" {
			size = m.Root.Size
		}
		paths[p.Name] = filepath.Join(t.TempDir(), p.Name)
		f, err := os.Create(paths[p.Name])
		check(t, err)
		_, err = io.Copy(f, io.NewSectionReader(disk, p.Start, size))
		check(t, errors.Join(err, f.Close()))
	}
	return paths
}

func says(t *testing.T, want string, argv ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %v, want %q in\n%s", argv, err, want, out)
	}
}

// compareRoot lets unsquashfs make the files, and compares what they are with
// what our reader says. It gives what the recipe's own program runs on.
func compareRoot(t *testing.T, path string) elf.Machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	says(t, "", "unsquashfs", "-no-progress", "-d", dir, path)
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	m, err := squashfs.Open(f)
	check(t, err)
	ours := map[string]string{}
	check(t, m.Walk(func(f squashfs.File, content io.Reader) (err error) {
		ours[f.Path], err = described(f, content)
		return err
	}))
	theirs := unpacked(t, dir)
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if ours[name] != theirs[name] {
			t.Errorf("/%s is %q, unsquashfs made %q", name, ours[name], theirs[name])
		}
	}
	if len(ours) != len(theirs) || len(ours) < 200 {
		t.Errorf("got %d files, unsquashfs made %d", len(ours), len(theirs))
	}
	program, err := elf.Open(filepath.Join(dir, "usr/bin/compiled"))
	check(t, err)
	defer program.Close()
	return program.Machine
}

// described is a file in the words of unpacked. Who is not root owns all that
// unsquashfs makes.
func described(f squashfs.File, content io.Reader) (string, error) {
	uid, gid := int(f.UID), int(f.GID)
	if os.Getuid() != 0 {
		uid, gid = os.Getuid(), os.Getgid()
	}
	who := fmt.Sprintf("%d:%d %d", uid, gid, f.Time)
	switch f.Type {
	case tar.TypeSymlink:
		return "link " + f.Target + " " + who, nil
	case tar.TypeDir:
		return fmt.Sprintf("dir %04o %s", f.Mode, who), nil
	}
	sum := sha256.New()
	_, err := io.Copy(sum, content)
	return fmt.Sprintf("file %04o %s %d %x", f.Mode, who, f.Size, sum.Sum(nil)), err
}

func unpacked(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	check(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		check(t, err)
		found[name] = onDisk(t, path)
		return nil
	}))
	return found
}

func onDisk(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	check(t, err)
	s := info.Sys().(*syscall.Stat_t)
	who := fmt.Sprintf("%d:%d %d", s.Uid, s.Gid, info.ModTime().Unix())
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		check(t, err)
		return "link " + target + " " + who
	case fs.ModeDir:
		return fmt.Sprintf("dir %04o %s", s.Mode&0o7777, who)
	}
	raw, err := os.ReadFile(path)
	check(t, err)
	return fmt.Sprintf("file %04o %s %d %x", s.Mode&0o7777, who, len(raw), sha256.Sum256(raw))
}
