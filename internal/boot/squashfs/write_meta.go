package squashfs

const rawMeta = 1 << 15 // in a metadata block's header: it is stored as it is

// A metaWriter packs what is written to it into blocks of 8 KiB.
type metaWriter struct {
	codec  *codec
	packed []byte // whole blocks
	open   []byte // the last, not yet full
}

// pos is where the next byte comes to lie: the start of its block among the
// packed ones, and its offset once unpacked.
func (m *metaWriter) pos() (block uint32, offset uint16) {
	return uint32(len(m.packed)), uint16(len(m.open))
}

func (m *metaWriter) write(b []byte) {
	for len(b) > 0 {
		n := min(metaSize-len(m.open), len(b))
		m.open = append(m.open, b[:n]...)
		b = b[n:]
		if len(m.open) == metaSize {
			m.flush()
		}
	}
}

func (m *metaWriter) flush() {
	if len(m.open) > 0 {
		m.packed, m.open = m.codec.appendMeta(m.packed, m.open), m.open[:0]
	}
}

func (m *metaWriter) bytes() []byte {
	m.flush()
	return m.packed
}

// appendMeta appends the block b with its header.
func (c *codec) appendMeta(to, b []byte) []byte {
	packed := c.pack(b)
	if len(packed) >= len(b) {
		return append(le.AppendUint16(to, uint16(len(b))|rawMeta), b...)
	}
	return append(le.AppendUint16(to, uint16(len(packed))), packed...)
}
