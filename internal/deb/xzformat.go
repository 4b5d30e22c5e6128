package deb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// An xzStream is the first stream of an xz file: section 2.1.
type xzStream struct {
	in      *bufio.Reader
	head    [12]byte
	records []xzRecord
}

// An xzHeader is that of a block which tells its sizes: section 3.1.
type xzHeader struct {
	bytes       []byte
	packed, raw int64
}

// An xzRecord is what the index says of a block: section 4.3.
type xzRecord struct{ unpadded, raw int64 }

// begin looks at the stream's header and its first block's, and takes them
// from in only when that is one of several that can be unpacked at once.
func (s *xzStream) begin() (*xzHeader, error) {
	peeked, err := s.in.Peek(len(s.head))
	if err != nil || !bytes.HasPrefix(peeked, []byte("\xfd7zXZ\x00")) || s.sizeOfCheck(peeked[7]) < 0 {
		return nil, err
	}
	copy(s.head[:], peeked)
	more, err := s.in.Peek(len(s.head) + 1)
	if err != nil || more[len(s.head)] == 0 {
		return nil, err
	}
	all, err := s.in.Peek(len(s.head) + sizeOfHeader(more[len(s.head)]))
	if err != nil {
		return nil, err
	}
	h := parseHeader(bytes.Clone(all[len(s.head):]))
	if h != nil {
		_, err = s.in.Discard(len(all))
	}
	return h, err
}

// next is the header of the next block, or nil where the index begins.
func (s *xzStream) next() (*xzHeader, error) {
	first, err := s.in.Peek(1)
	if err != nil {
		return nil, cut(err)
	}
	if first[0] == 0 {
		return nil, nil
	}
	raw := make([]byte, sizeOfHeader(first[0]))
	if _, err := io.ReadFull(s.in, raw); err != nil {
		return nil, cut(err)
	}
	if h := parseHeader(raw); h != nil {
		return h, nil
	}
	return nil, errXZ // xz gives sizes to all blocks or to none
}

// end compares what follows the blocks with what has to.
func (s *xzStream) end() error {
	want := s.tail(s.records)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s.in, got); err != nil {
		return cut(err)
	}
	if !bytes.Equal(got, want) {
		return errXZ
	}
	return nil
}

func sizeOfHeader(first byte) int { return (int(first) + 1) * 4 }

// parseHeader gives nil for a header that is damaged or tells no sizes.
func parseHeader(raw []byte) *xzHeader {
	const sizes = 0xc0 // both of them
	fields, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if crc32.ChecksumIEEE(fields) != binary.LittleEndian.Uint32(sum) || raw[1]&sizes != sizes {
		return nil
	}
	packed, n := binary.Uvarint(fields[2:])
	if n <= 0 || packed == 0 || packed > 1<<40 {
		return nil
	}
	unpacked, m := binary.Uvarint(fields[2+n:])
	if m <= 0 || unpacked > 1<<40 {
		return nil
	}
	return &xzHeader{raw, int64(packed), int64(unpacked)}
}

// rest is what follows the header: data, padding to four bytes, and check.
func (h *xzHeader) rest(check int64) int64 { return (h.packed+3)&^3 + check }

func (h *xzHeader) record(check int64) xzRecord {
	return xzRecord{int64(len(h.bytes)) + h.packed + check, h.raw}
}

func (s *xzStream) checkSize() int64 { return s.sizeOfCheck(s.head[7]) }

// sizeOfCheck is -1 for those that nobody writes: section 2.1.1.2.
func (*xzStream) sizeOfCheck(id byte) int64 {
	size, ok := map[byte]int64{0: 0, 1: 4, 4: 8, 10: 32}[id]
	if !ok {
		return -1
	}
	return size
}

// tail is the index of blocks and the stream's footer: sections 4 and 2.1.2.
func (s *xzStream) tail(records []xzRecord) []byte {
	index := binary.AppendUvarint([]byte{0}, uint64(len(records)))
	for _, r := range records {
		index = binary.AppendUvarint(binary.AppendUvarint(index, uint64(r.unpadded)), uint64(r.raw))
	}
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), s.head[6:8]...)
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(footer))
	return append(append(index, footer...), 'Y', 'Z')
}
