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

// A table that is loaded can be edited and saved, and is then one that loads
// without damage; what was created is where nothing else is.
//
//fuzz:parser load.go:Load,load,adopt,kindOf edit.go:Create,place,aligned,largest,alignment,check
func FuzzLoad(f *testing.F) {
	const size = 64 * SectorSize * 64
	sound := &memory{}
	if err := (&Table{GUID: guid.GUID{7}, disk: newDisk(size, SectorSize), Partitions: []Entry{
		{Number: 2, Type: TypeLinux, GUID: guid.GUID{1}, Start: 100 * SectorSize, Size: 77 * SectorSize}}}).write(sound, func() error { return nil }); err != nil {
		f.Fatal(err)
	}
	whole := []byte(*sound)
	f.Add(slices.Clone(whole[446:512]), slices.Clone(whole[512:604]), slices.Clone(whole[1024:1024+512]), int64(0), int64(0))
	f.Add(slices.Clone(whole[446:512]), []byte(nil), []byte(nil), int64(300*SectorSize), int64(9*SectorSize))
	f.Fuzz(func(t *testing.T, mbr, header, entries []byte, start, length int64) {
		b := bytes.Clone(whole)
		copy(b[446:512], mbr)
		copy(b[512:604], header)
		copy(b[1024:], entries[:min(len(entries), arraySize)])
		makeSound(b)
		table, err := Load(bytes.NewReader(b), size, SectorSize)
		if err != nil {
			return
		}
		made, err := table.Create(Entry{GUID: guid.GUID{9}, Start: start, Size: length})
		for _, e := range table.Partitions {
			if err == nil && e.Number != made.Number && e.Start < made.End() && made.Start < e.End() {
				t.Errorf("%+v lies over %+v", made, e)
			}
		}
		disk := saveable{memory(b)}
		if err := table.Save(&disk); err != nil {
			t.Fatalf("save: %v", err)
		}
		again, err := Load(bytes.NewReader(disk.memory), size, SectorSize)
		if err != nil || again.Damage.Err() != nil || !slices.Equal(again.Partitions, table.Partitions) {
			t.Errorf("got %+v, %v; want %+v", again, err, table)
		}
	})
}

type saveable struct{ memory }

func (saveable) Sync() error { return nil }
