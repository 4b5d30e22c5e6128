package squashfs

import (
	"archive/tar"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// paxXattr begins the PAX records that carry extended attributes.
const paxXattr = "SCHILY.xattr."

// The name spaces an attribute may be in, by their type.
var namespaces = []string{"user.", "trusted.", "security."}

// xattrs are the sets of extended attributes, which inodes name by index.
// Files with equal sets share one.
type xattrs struct {
	pairs metaWriter
	sets  []byte // 16 bytes each: where, how many, size
	known map[string]uint32
}

func (x *xattrs) empty() bool { return len(x.sets) == 0 }

// of is the index of h's set.
func (x *xattrs) of(h *tar.Header) (uint32, error) {
	raw, count, err := encodeXattrs(h.PAXRecords)
	if err != nil || count == 0 {
		return noXattrs, err
	}
	if index, ok := x.known[string(raw)]; ok {
		return index, nil
	}
	block, offset := x.pairs.pos()
	x.pairs.write(raw)
	x.sets = le.AppendUint64(x.sets, uint64(block)<<16|uint64(offset))
	x.sets = le.AppendUint32(x.sets, count)
	x.sets = le.AppendUint32(x.sets, uint32(len(raw)))
	if x.known == nil {
		x.known = map[string]uint32{}
	}
	index := uint32(len(x.sets)/16 - 1)
	x.known[string(raw)] = index
	return index, nil
}

func encodeXattrs(records map[string]string) (raw []byte, count uint32, err error) {
	for _, key := range slices.Sorted(maps.Keys(records)) {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		space := slices.IndexFunc(namespaces, func(s string) bool { return strings.HasPrefix(name, s) })
		if space < 0 {
			return nil, 0, fmt.Errorf("extended attribute %s: want one of user, trusted or security", name)
		}
		short := strings.TrimPrefix(name, namespaces[space])
		raw = le.AppendUint16(raw, uint16(space))
		raw = le.AppendUint16(raw, uint16(len(short)))
		raw = append(raw, short...)
		raw = le.AppendUint32(raw, uint32(len(records[key])))
		raw = append(raw, records[key]...)
		count++
	}
	return raw, count, nil
}

// xattrTables writes the pairs and, behind them, the table of sets.
func (w *writer) xattrTables() (uint64, error) {
	pairs := uint64(w.at)
	if err := w.write(w.attrs.pairs.bytes()); err != nil {
		return 0, err
	}
	var index []byte
	for rest := w.attrs.sets; len(rest) > 0; {
		n := min(metaSize, len(rest))
		index = le.AppendUint64(index, uint64(w.at))
		if err := w.write(w.codec.appendMeta(nil, rest[:n])); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	start := uint64(w.at)
	head := le.AppendUint64(nil, pairs)
	head = le.AppendUint32(head, uint32(len(w.attrs.sets)/16))
	head = le.AppendUint32(head, 0)
	return start, w.write(append(head, index...))
}
