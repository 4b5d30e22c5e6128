package uki

import (
	"bytes"
	debugpe "debug/pe"
	"encoding/binary"
	"testing"
)

// smallStub is a small PE image with two sections, the way
// systemd-stub is laid out: real stubs are too large to mutate well.
func smallStub() []byte {
	const (
		at      = 64
		table   = at + atOptional + 240
		headers = 512
	)
	b := make([]byte, headers+2*512)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[60:], at)
	copy(b[at:], "PE\x00\x00\x64\x86\x02\x00")
	put := func(offset int, v uint32) { binary.LittleEndian.PutUint32(b[at+offset:], v) }
	binary.LittleEndian.PutUint16(b[at+atOptionalSize:], 240)
	binary.LittleEndian.PutUint16(b[at+atOptional:], 0x20b)
	put(atSectionAlign, 4096)
	put(atFileAlign, 512)
	put(atImageSize, 3*4096)
	put(atHeadersSize, headers)
	put(atDirCount, 16)
	for i, name := range []string{".text", ".sdmagic"} {
		s := b[table+i*sectionHeader:]
		copy(s, name)
		for j, v := range []uint32{100, uint32(i+1) * 4096, 512, uint32(headers + i*512)} {
			binary.LittleEndian.PutUint32(s[8+4*j:], v)
		}
	}
	copy(b[headers:], "code")
	copy(b[headers+512:], "#### LoaderInfo: systemd-stub 252.39 ####")
	return b
}

// An image that we read, debug/pe reads too, with the same sections; and what
// we build of it reads back.
//
//fuzz:parser pe.go uki.go authenticode.go:Hash,hashed,Signed,Unsigned
func FuzzParse(f *testing.F) {
	f.Add(smallStub())
	if built, err := Build(smallStub(), []Section{{Cmdline, []byte("x")}}); err == nil {
		f.Add(built)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := Sections(b)
		if err != nil {
			return
		}
		if _, err := Hash(b); err != nil {
			t.Errorf("sections without a hash: %v", err)
		}
		likeDebugPE(t, b, sections)
		if bare, err := Unsigned(b); err != nil || Signed(bare) {
			t.Errorf("without its signature: %v", err)
		}
		if stub, appended, err := Split(b); err == nil && len(stub) > len(b)+len(appended) {
			t.Errorf("%d bytes became a stub of %d", len(b), len(stub))
		}
		added := Section{Linux, []byte("a kernel")}
		built, err := Build(b, []Section{added})
		if err != nil {
			return
		}
		again, err := Sections(built)
		if err != nil || len(again) != len(sections)+1 {
			t.Fatalf("%d sections became %d, %v", len(sections), len(again), err)
		}
		if last := again[len(sections)]; last.Name != added.Name || !bytes.Equal(last.Data, added.Data) {
			t.Errorf("added section reads back as %q %q", last.Name, last.Data)
		}
	})
}

// likeDebugPE compares with the standard library where it reads the image at
// all: it wants symbols and string tables that no firmware looks at.
func likeDebugPE(t *testing.T, b []byte, sections []Section) {
	theirs, err := debugpe.NewFile(bytes.NewReader(b))
	if err != nil {
		return
	}
	if len(theirs.Sections) != len(sections) {
		t.Fatalf("got %d sections, debug/pe %d", len(sections), len(theirs.Sections))
	}
	for i, s := range theirs.Sections {
		if want := min(s.Size, s.VirtualSize); len(sections[i].Data) != int(want) {
			t.Errorf("section %d has %d bytes, debug/pe says %d", i, len(sections[i].Data), want)
		}
		data, err := s.Data()
		if err == nil && !bytes.HasPrefix(data, sections[i].Data) {
			t.Errorf("section %d has other bytes than debug/pe finds", i)
		}
	}
}

// No alteration of a signed image passes unless it leaves the hashed bytes as
// they are.
//
//fuzz:parser authenticode.go:Verify,Hash,Signed,hashed,signatures,signedBy pe.go:parse,readSection
func FuzzVerify(f *testing.F) {
	cert, key := signer()
	image, err := Build(smallStub(), []Section{{Cmdline, []byte("console=ttyS0")}})
	if err != nil {
		f.Fatal(err)
	}
	signed, err := Sign(image, cert, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte(nil), []byte(nil))
	f.Add(uint16(64+atChecksum), []byte("1234"), []byte(nil))
	f.Add(uint16(64+atCertificates), []byte{0}, []byte(nil))
	f.Add(uint16(520), []byte("other code"), []byte(nil))
	f.Add(uint16(len(image)), []byte("another length"), []byte("behind"))
	want, _ := Hash(signed)
	f.Fuzz(func(t *testing.T, at uint16, with, behind []byte) {
		b := bytes.Clone(signed)
		copy(b[int(at)%len(b):], with)
		b = append(b, behind...)
		if Verify(b, cert) != nil {
			return
		}
		got, err := Hash(b)
		if err != nil || got != want {
			t.Errorf("verified, but its hash is %x, %v, not the signed %x", got, err, want)
		}
	})
}
