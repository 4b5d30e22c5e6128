package gpt

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"holdfast/internal/boot/guid"
)

func smallDisk() Disk {
	return Disk{GUID: guid.GUID{1}, Partitions: []Partition{
		{Name: "esp", Type: TypeESP, GUID: guid.GUID{2}, Size: 1},
		{Name: "root ☂", Type: guid.GUID{9}, GUID: guid.GUID{3}, Size: 2 << 20},
	}}
}

// No partition that is accepted reaches before the table or behind the disk.
//
//fuzz:parser table.go:parseEntries,name
func FuzzEntries(f *testing.F) {
	f.Add(smallDisk().table().array()[:384], uint16(0xffff))
	f.Add(smallDisk().table().array()[:256], uint16(2049))
	f.Fuzz(func(t *testing.T, b []byte, sectors uint16) {
		list, err := parseEntries(append(b, make([]byte, -len(b)&(entrySize-1))...), SectorSize, int64(sectors))
		if err != nil {
			return
		}
		for _, e := range list {
			if e.Start < 1024 || e.Size <= 0 || e.Start+e.Size > int64(sectors)*SectorSize {
				t.Errorf("accepted %+v on a disk of %d sectors", e, sectors)
			}
		}
	})
}

// Checksums would stop nearly every mutation, so they are made good here: the
// fuzzer writes over fields and entries of a sound table. A table that is
// accepted has what its entries say.
//
//fuzz:parser table.go:Read,parseHeader,parseEntries,name
func FuzzRead(f *testing.F) {
	var buf memory
	if err := Write(&buf, smallDisk()); err != nil {
		f.Fatal(err)
	}
	whole := []byte(buf[:34*SectorSize])
	header, entries := whole[SectorSize:SectorSize+headerSize], whole[2*SectorSize:][:3*entrySize]
	f.Add(slices.Clone(header), slices.Clone(entries), true)
	f.Add(slices.Clone(header), slices.Clone(entries), false)
	f.Add([]byte("EFI PART"), []byte(nil), true)
	f.Fuzz(func(t *testing.T, header, entries []byte, sound bool) {
		b := bytes.Clone(whole)
		copy(b[SectorSize:2*SectorSize], header)
		copy(b[2*SectorSize:], entries)
		if sound {
			makeSound(b)
		}
		size := int64(1 << 30)
		table, err := Read(bytes.NewReader(b), size)
		if err != nil {
			return
		}
		for _, e := range table.Partitions {
			if e.Start < 1024 || e.Size <= 0 || e.Start+e.Size > size {
				t.Errorf("accepted %+v on a disk of %d bytes", e, size)
			}
		}
	})
}

func makeSound(b []byte) {
	h := b[SectorSize:]
	if n := int(binary.LittleEndian.Uint32(h[80:])); n <= maxEntries {
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(b[2*SectorSize:][:n*entrySize]))
	}
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
}
