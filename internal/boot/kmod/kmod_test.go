package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

// module is the smallest ELF file with a .modinfo section.
func module(fields ...string) []byte {
	data := strings.Join(fields, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	offset := uint64(binary.Size(elf.Header64{}))
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: offset + uint64(len(data)+len(names)), Ehsize: uint16(offset),
		Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: 3, Shstrndx: 2,
	}
	_ = binary.Write(&b, binary.LittleEndian, header)
	b.WriteString(data + names)
	for _, s := range []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: offset, Size: uint64(len(data))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: offset + uint64(len(data)), Size: uint64(len(names))},
	} {
		_ = binary.Write(&b, binary.LittleEndian, s)
	}
	return b.Bytes()
}

func tree(t *testing.T) *Tree {
	t.Helper()
	file := func(fields ...string) *fstest.MapFile { return &fstest.MapFile{Data: module(fields...)} }
	got, err := Open(fstest.MapFS{
		"modules.builtin":         {Data: []byte("kernel/fs/ext-four.ko\n")},
		"modules.builtin.modinfo": {Data: []byte("sha256.alias=crypto-sha256\x00")},
		"kernel/a/dm-verity.ko":   file("depends=dm-mod,dm-bufio", "name=dm_verity"),
		"kernel/a/dm-bufio.ko":    file("depends=dm-mod"),
		"kernel/a/dm-mod.ko":      file("depends="),
		"kernel/b/libcrc.ko":      file("softdep=pre: crc32c crypto-sha256 gone post: dm-verity", "depends="),
		"kernel/b/crc_generic.ko": file("alias=crc32c"),
		"kernel/b/crc_fast.ko":    file("alias=crc32c"),
		"kernel/b/broken.ko":      file("depends=absent"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func names(modules []Module) string {
	var list []string
	for _, m := range modules {
		list = append(list, m.Name)
	}
	return strings.Join(list, " ")
}

func TestDependenciesComeFirst(t *testing.T) {
	for wanted, want := range map[string]string{
		"dm-verity":            "dm_mod dm_bufio dm_verity",
		"dm_verity dm_mod":     "dm_mod dm_bufio dm_verity",
		"libcrc":               "crc_generic libcrc",
		"ext_four":             "",
		"ext-four dm-bufio":    "dm_mod dm_bufio",
		"crypto-sha256 dm-mod": "dm_mod",
	} {
		got, err := tree(t).Resolve(strings.Fields(wanted)...)
		if err != nil || names(got) != want {
			t.Errorf("%s: got %q, %v, want %q", wanted, names(got), err, want)
		}
	}
}

func TestMissingModuleIsNamed(t *testing.T) {
	for wanted, want := range map[string]string{
		"nothing": "module nothing: the kernel has no such module",
		"broken":  "module broken: needs absent: the kernel has no such module",
	} {
		_, err := tree(t).Resolve(wanted)
		if !errors.Is(err, ErrNotFound) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
