package qemu

import "encoding/binary"

// What the probe's guest proves itself with.
const (
	probePort  = 0xf4 // of isa-debug-exit
	probeValue = 0x2a
	probeExit  = probeValue<<1 | 1 // QEMU hw/misc/debugexit.c

	// probeLoops take a tenth of a second on a processor, over a second in
	// emulation, and for ever in a KVM that interprets each instruction.
	probeLoops = 50000000
)

// bootSector assembles the probe's guest: it leaves real mode, counts in
// 32-bit protected mode, and reports by the debug port.
func bootSector(loops uint32) []byte {
	const origin = 0x7c00
	const gdt, gdtr, protected = 0x60, 0x78, 0x20
	s := make([]byte, 512)
	copy(s, []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0x0f, 0x01, 0x16, lo(origin + gdtr), hi(origin + gdtr), // lgdt [gdtr]
		0x0f, 0x20, 0xc0, // mov eax, cr0
		0x0c, 0x01, // or al, 1
		0x0f, 0x22, 0xc0, // mov cr0, eax
		0xea, lo(origin + protected), hi(origin + protected), 0x08, 0x00, // jmp 8:protected
	})
	count := binary.LittleEndian.AppendUint32(nil, loops)
	code := []byte{
		0x66, 0xb8, 0x10, 0x00, // mov ax, 16
		0x8e, 0xd8, // mov ds, ax
		0xb9, count[0], count[1], count[2], count[3], // mov ecx, loops
		0x31, 0xc0, // xor eax, eax
		0x40,       // again: inc eax
		0xe2, 0xfd, // loop again
		0x2d, count[0], count[1], count[2], count[3], // sub eax, loops
		0x04, probeValue, // add al, probeValue
		0xe6, probePort, // out probePort, al
		0xf4,       // hlt
		0xeb, 0xfd, // jmp back to hlt
	}
	copy(s[protected:], code)
	binary.LittleEndian.PutUint64(s[gdt+8:], 0x00cf9a000000ffff)  // code: base 0, 4 GiB
	binary.LittleEndian.PutUint64(s[gdt+16:], 0x00cf92000000ffff) // data: base 0, 4 GiB
	binary.LittleEndian.PutUint16(s[gdtr:], 3*8-1)
	binary.LittleEndian.PutUint32(s[gdtr+2:], origin+gdt)
	s[510], s[511] = 0x55, 0xaa
	return s
}

func lo(v uint16) byte { return byte(v) }
func hi(v uint16) byte { return byte(v >> 8) }
