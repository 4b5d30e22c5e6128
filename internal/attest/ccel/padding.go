package ccel

import "encoding/binary"

// digestSizes are those of the algorithms that logs have, by TPM_ALG_ID.
var digestSizes = map[uint16]int{0x04: 20, 0x0B: 32, 0x0C: 48, 0x0D: 64, 0x12: 32}

// unpadded cuts off what firmware left empty: td-shim writes zeros there, OVMF
// ones. What it cannot follow it leaves for the parser to refuse.
func unpadded(raw []byte) []byte {
	const legacy = 32 // the first event, in the form of SHA-1, with its size last
	if len(raw) < legacy {
		return raw
	}
	at := legacy + int(binary.LittleEndian.Uint32(raw[legacy-4:]))
	for at >= legacy && at+8 <= len(raw) {
		switch binary.LittleEndian.Uint64(raw[at:]) {
		case 0, 0xFFFFFFFFFFFFFFFF:
			return raw[:at]
		}
		next := afterEvent(raw, at)
		if next <= at {
			return raw
		}
		at = next
	}
	return raw
}

// afterEvent is where the event at an offset ends, or 0.
func afterEvent(raw []byte, at int) int {
	at += 8
	if at+4 > len(raw) {
		return 0
	}
	count := binary.LittleEndian.Uint32(raw[at:])
	at += 4
	for ; count > 0; count-- {
		if at+2 > len(raw) {
			return 0
		}
		size, known := digestSizes[binary.LittleEndian.Uint16(raw[at:])]
		if !known {
			return 0
		}
		at += 2 + size
	}
	if at+4 > len(raw) {
		return 0
	}
	return at + 4 + int(binary.LittleEndian.Uint32(raw[at:]))
}
