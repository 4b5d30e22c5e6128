// Package uki assembles, signs and reads unified kernel images.
//
// Equal stub, sections and key give equal bytes: no time enters the image or
// its signature. The layout is what systemd-stub 252 expects.
package uki

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// Names of sections that systemd-stub 252 knows.
const (
	OSRelease = ".osrel"
	Cmdline   = ".cmdline"
	Linux     = ".linux"
	Initrd    = ".initrd"
)

// A Section of an image. Data has its unpadded size.
type Section struct {
	Name string
	Data []byte
}

// readOnlyData is IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ.
const readOnlyData = 0x40000040

// pageSize is what addresses in memory are rounded to.
const pageSize = 4096

// Build appends sections to systemd-stub, each at the next page behind what
// the stub uses. Symbols that lie behind the stub's sections are left out:
// what is in no section is hashed differently by every tool.
func Build(stub []byte, sections []Section) ([]byte, error) {
	p, err := parse(stub)
	if err != nil {
		return nil, fmt.Errorf("UKI stub: %w", err)
	}
	if Signed(stub) {
		return nil, fmt.Errorf("UKI stub is signed: take the unsigned one")
	}
	if err := p.checkNew(sections); err != nil {
		return nil, fmt.Errorf("UKI: %w", err)
	}
	end, memory := p.ends()
	size := int(end)
	for _, s := range sections {
		size += align(len(s.Data), int(p.u32(atFileAlign)))
	}
	p.image = append(make([]byte, 0, size), stub[:end]...)
	p.put32(atSymbols, 0)
	p.put32(atSymbols+4, 0)
	for _, s := range sections {
		memory = p.add(s, memory)
	}
	p.put32(atImageSize, uint32(align(int(memory), int(p.u32(atSectionAlign)))))
	p.putChecksum()
	return p.image, nil
}

func align(n, to int) int { return (n + to - 1) / to * to }

func (p *pe) checkNew(sections []Section) error {
	if a := p.u32(atFileAlign); a < 8 || a > 1<<16 || p.u32(atSectionAlign) == 0 {
		return fmt.Errorf("the stub aligns its sections to %d in the file", a)
	}
	seen := map[string]bool{}
	for _, s := range p.sections {
		seen[s.name] = true
	}
	total := len(p.image)
	for _, s := range sections {
		switch {
		case len(s.Name) == 0 || len(s.Name) > 8:
			return fmt.Errorf("section %q: a name has 1 to 8 bytes", s.Name)
		case seen[s.Name]:
			return fmt.Errorf("section %s is already there", s.Name)
		case len(s.Data) == 0:
			return fmt.Errorf("section %s is empty", s.Name)
		}
		seen[s.Name] = true
		total += len(s.Data) + 2*pageSize
	}
	headers := p.sectionTable() + (len(p.sections)+len(sections))*sectionHeader
	if headers > int(p.u32(atHeadersSize)) {
		return fmt.Errorf("the stub has no room for %d more section headers", len(sections))
	}
	if total > math.MaxInt32 {
		return fmt.Errorf("%d bytes are too many", total)
	}
	return nil
}

// ends returns where the sections end, in the file and in memory.
func (p *pe) ends() (file, memory uint32) {
	file = p.u32(atHeadersSize)
	for _, s := range p.sections {
		file = max(file, s.file+s.raw)
		memory = max(memory, s.memory+s.virtual)
	}
	return file, memory
}

// add appends one section behind memory and returns its end there.
func (p *pe) add(s Section, memory uint32) uint32 {
	raw := align(len(s.Data), int(p.u32(atFileAlign)))
	added := peSection{
		name: s.Name, virtual: uint32(len(s.Data)), memory: uint32(align(int(memory), pageSize)),
		raw: uint32(raw), file: uint32(len(p.image)),
	}
	b := p.image[p.sectionTable()+len(p.sections)*sectionHeader:]
	clear(b[:sectionHeader])
	copy(b, added.name)
	le.PutUint32(b[8:], added.virtual)
	le.PutUint32(b[12:], added.memory)
	le.PutUint32(b[16:], added.raw)
	le.PutUint32(b[20:], added.file)
	le.PutUint32(b[36:], readOnlyData)
	p.sections = append(p.sections, added)
	le.PutUint16(p.image[p.at+atSectionCount:], uint16(len(p.sections)))
	p.put32(atInitialized, p.u32(atInitialized)+uint32(raw))
	p.image = append(p.image, s.Data...)
	p.image = append(p.image, make([]byte, raw-len(s.Data))...)
	return added.memory + added.virtual
}

// Split undoes Build: it returns the stub and the sections that were appended,
// which are those from the first on that systemd-stub looks for. A signature
// is left out.
func Split(image []byte) (stub []byte, appended []Section, err error) {
	bare, err := Unsigned(image)
	if err != nil {
		return nil, nil, err
	}
	p, err := parse(bare)
	if err != nil {
		return nil, nil, err
	}
	first := slices.IndexFunc(p.sections, func(s peSection) bool {
		return slices.Contains([]string{OSRelease, Cmdline, Linux, Initrd}, s.name)
	})
	if first < 0 {
		return nil, nil, fmt.Errorf("UKI: no section was appended to the stub")
	}
	size := p.u32(atInitialized)
	for _, s := range p.sections[first:] {
		appended = append(appended, Section{Name: s.name, Data: p.data(s)})
		size -= s.raw
	}
	p.sections = p.sections[:first]
	end, _ := p.ends()
	stub = bytes.Clone(bare[:end])
	p.image = stub
	le.PutUint16(stub[p.at+atSectionCount:], uint16(first))
	p.put32(atInitialized, size)
	return stub, appended, nil
}

// Sections lists all sections of an image, the stub's too. Their data is part
// of the image, not a copy.
func Sections(image []byte) ([]Section, error) {
	p, err := parse(image)
	if err != nil {
		return nil, err
	}
	var list []Section
	for _, s := range p.sections {
		list = append(list, Section{Name: s.name, Data: p.data(s)})
	}
	return list, nil
}
