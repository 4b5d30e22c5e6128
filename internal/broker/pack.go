package broker

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
)

// pack halves what is written in lower-case hexadecimal digits. Deflating is
// little better, and takes as long as a signature.
//
// Pieces follow each other, each of two parts: text as it is, then digits as
// the bytes that they stand for. Before each part stands its length.
func pack(text []byte) []byte {
	var room [4 << 10]byte // most tokens need less
	out := room[:0]
	for len(text) > 0 {
		plain, digits := 0, 0
		for plain < len(text) {
			if digits = digitsIn(text[plain:]) &^ 1; digits >= minDigits {
				break
			}
			plain, digits = plain+max(digits, 1), 0
		}
		out = append(binary.AppendUvarint(out, uint64(plain)), text[:plain]...)
		out = binary.AppendUvarint(out, uint64(digits/2))
		out, _ = hex.AppendDecode(out, text[plain:plain+digits]) // they are digits
		text = text[plain+digits:]
	}
	return bytes.Clone(out)
}

// minDigits are worth the two lengths.
const minDigits = 8

func digitsIn(text []byte) int {
	for i, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return i
		}
	}
	return len(text)
}

// unpack undoes pack. What pack did not make it takes for what it can.
func unpack(packed []byte) []byte {
	out := make([]byte, 0, 2*len(packed))
	next := func() []byte {
		size, n := binary.Uvarint(packed)
		if n <= 0 || size > uint64(len(packed)-n) {
			packed = nil
			return nil
		}
		part := packed[n : n+int(size)]
		packed = packed[n+int(size):]
		return part
	}
	for len(packed) > 0 {
		out = append(out, next()...)
		out = hex.AppendEncode(out, next())
	}
	return out
}
