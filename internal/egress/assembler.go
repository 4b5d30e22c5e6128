package egress

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A reg is a register (RFC 9669, section 2.1): r0 has results, r1 to r5 are
// arguments that a call destroys, r10 is the end of the stack.
type reg uint8

const (
	r0 reg = iota
	r1
	r2
	r3
	r4
	_
	r6
	r7
	r8
	r9
	r10
)

// What jumpIf compares: 32 bits, or a pointer.
const (
	jeq        = unix.BPF_JMP32 | unix.BPF_JEQ
	jne        = unix.BPF_JMP32 | unix.BPF_JNE
	jeqPointer = unix.BPF_JMP | unix.BPF_JEQ
)

// Helper functions (Linux, include/uapi/linux/bpf.h, enum bpf_func_id).
const (
	helperLookup    = 1
	helperUpdate    = 2
	helperLoadBytes = 26
)

// An instruction is coded in 8 bytes (RFC 9669, section 3.1).
type instruction struct {
	opcode   uint8
	dst, src reg
	offset   int16
	imm      uint32
	label    string // to jump to
}

type assembler struct {
	code   []instruction
	labels map[string]int
}

func newAssembler() *assembler { return &assembler{labels: map[string]int{}} }

func (a *assembler) emit(i instruction) { a.code = append(a.code, i) }

func (a *assembler) label(name string) { a.labels[name] = len(a.code) }

func (a *assembler) jump(label string) {
	a.emit(instruction{opcode: unix.BPF_JMP | unix.BPF_JA, label: label})
}

func (a *assembler) jumpIf(opcode uint8, r reg, imm uint32, label string) {
	a.emit(instruction{opcode: opcode, dst: r, imm: imm, label: label})
}

func (a *assembler) load(size uint8, dst, base reg, offset int16) {
	a.emit(instruction{opcode: unix.BPF_LDX | unix.BPF_MEM | size, dst: dst, src: base, offset: offset})
}

func (a *assembler) store(size uint8, base reg, offset int16, src reg) {
	a.emit(instruction{opcode: unix.BPF_STX | unix.BPF_MEM | size, dst: base, src: src, offset: offset})
}

func (a *assembler) copy(dst, src reg) {
	a.emit(instruction{opcode: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, dst: dst, src: src})
}

func (a *assembler) set(r reg, imm uint32) {
	a.emit(instruction{opcode: unix.BPF_ALU | unix.BPF_MOV, dst: r, imm: imm})
}

func (a *assembler) and(r reg, imm uint32) {
	a.emit(instruction{opcode: unix.BPF_ALU | unix.BPF_AND, dst: r, imm: imm})
}

func (a *assembler) add(r reg, imm uint32) {
	a.emit(instruction{opcode: unix.BPF_ALU | unix.BPF_ADD, dst: r, imm: imm})
}

func (a *assembler) shiftLeft(r reg, bits uint32) {
	a.emit(instruction{opcode: unix.BPF_ALU | unix.BPF_LSH, dst: r, imm: bits})
}

// address is of a place on the stack.
func (a *assembler) address(r reg, offset int16) {
	a.copy(r, r10)
	a.emit(instruction{opcode: unix.BPF_ALU64 | unix.BPF_ADD, dst: r, imm: uint32(int32(offset))})
}

// mapFD takes two instructions, for a pointer's 64 bits.
func (a *assembler) mapFD(r reg, fd int) {
	a.emit(instruction{opcode: unix.BPF_LD | unix.BPF_IMM | unix.BPF_DW, dst: r, src: unix.BPF_PSEUDO_MAP_FD, imm: uint32(fd)})
	a.emit(instruction{})
}

func (a *assembler) call(helper uint32) {
	a.emit(instruction{opcode: unix.BPF_JMP | unix.BPF_CALL, imm: helper})
}

// verdicts ends the program: at the first label with 1, which lets pass, and
// at the second with 0. It must not name a label that nothing jumps to.
func (a *assembler) verdicts(labels ...string) {
	for i, name := range labels {
		a.label(name)
		a.set(r0, uint32(1-i))
		a.emit(instruction{opcode: unix.BPF_JMP | unix.BPF_EXIT})
	}
}

// bytes resolves the labels: jumps count from the instruction after them.
func (a *assembler) bytes() []byte {
	var b []byte
	for at, i := range a.code {
		if i.label != "" {
			i.offset = int16(a.labels[i.label] - at - 1)
		}
		b = append(b, i.opcode, uint8(i.src<<4|i.dst))
		b = binary.NativeEndian.AppendUint16(b, uint16(i.offset))
		b = binary.NativeEndian.AppendUint32(b, i.imm)
	}
	return b
}
