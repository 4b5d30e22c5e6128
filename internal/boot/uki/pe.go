package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

// Offsets within the PE headers: Microsoft's PE/COFF specification, "COFF File
// Header" and "Optional Header" (PE32+), counted from the PE signature.
const (
	atSectionCount = 6
	atSymbols      = 12
	atOptionalSize = 20
	atOptional     = 24
	atInitialized  = atOptional + 8
	atSectionAlign = atOptional + 32
	atFileAlign    = atOptional + 36
	atImageSize    = atOptional + 56
	atHeadersSize  = atOptional + 60
	atChecksum     = atOptional + 64
	atDirCount     = atOptional + 108
	atCertificates = atOptional + 144 // the fifth data directory
	optionalLeast  = 112 + 5*8

	sectionHeader = 40
	maxSections   = 96
)

// A pe is an image whose headers were checked to lie inside it.
type pe struct {
	image    []byte
	at       int // of the PE signature
	sections []peSection
}

type peSection struct {
	name            string
	virtual, memory uint32 // size and address in memory
	raw, file       uint32 // size and offset in the file
}

// ErrNotPE says that bytes are no 64-bit PE image.
var ErrNotPE = errors.New("not a 64-bit PE image")

func parse(image []byte) (*pe, error) {
	if len(image) < 64 || image[0] != 'M' || image[1] != 'Z' {
		return nil, ErrNotPE
	}
	p := &pe{image: image, at: int(le.Uint32(image[60:]))}
	if p.at > len(image)-atOptional-optionalLeast || !bytes.Equal(image[p.at:p.at+4], []byte("PE\x00\x00")) ||
		p.u16(atOptional) != 0x20b || int(p.u16(atOptionalSize)) < optionalLeast || p.u32(atDirCount) < 5 {
		return nil, ErrNotPE
	}
	table, n := p.sectionTable(), int(p.u16(atSectionCount))
	if n > maxSections || table+n*sectionHeader > int(p.u32(atHeadersSize)) || int(p.u32(atHeadersSize)) > len(image) {
		return nil, fmt.Errorf("PE image: %d section headers do not fit its headers", n)
	}
	if at, size := p.certificates(); size != 0 && (int(at) < int(p.u32(atHeadersSize)) || uint64(at)+uint64(size) != uint64(len(image))) {
		return nil, errors.New("PE image: its signatures are not at its end")
	}
	for i := range n {
		s := readSection(image[table+i*sectionHeader:])
		if uint64(s.file)+uint64(s.raw) > uint64(len(image)) {
			return nil, fmt.Errorf("PE image: section %s ends after the file", s.name)
		}
		p.sections = append(p.sections, s)
	}
	return p, nil
}

func readSection(b []byte) peSection {
	return peSection{
		name:    string(bytes.TrimRight(b[:8], "\x00")),
		virtual: le.Uint32(b[8:]), memory: le.Uint32(b[12:]),
		raw: le.Uint32(b[16:]), file: le.Uint32(b[20:]),
	}
}

func (p *pe) u16(at int) uint16      { return le.Uint16(p.image[p.at+at:]) }
func (p *pe) u32(at int) uint32      { return le.Uint32(p.image[p.at+at:]) }
func (p *pe) put32(at int, v uint32) { le.PutUint32(p.image[p.at+at:], v) }
func (p *pe) sectionTable() int      { return p.at + atOptional + int(p.u16(atOptionalSize)) }
func (p *pe) certificates() (at, size uint32) {
	return p.u32(atCertificates), p.u32(atCertificates + 4)
}

// data is a section as it lies in memory: the stub measures that many bytes.
func (p *pe) data(s peSection) []byte {
	return p.image[s.file : s.file+min(s.raw, s.virtual)]
}

// putChecksum computes the image's checksum: the ones' complement sum of its
// 16-bit words without the checksum itself, plus its length.
func (p *pe) putChecksum() {
	p.put32(atChecksum, 0)
	var sum uint64
	b := p.image
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(le.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	p.put32(atChecksum, uint32(sum)+uint32(len(p.image)))
}
