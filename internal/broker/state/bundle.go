package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A bundle is records that came at nearly the same time, in one row: they say
// much of the same, so that together they take a third of the room, and a row
// costs as much as many records.
type bundle struct {
	text  []byte // name and record of each, each behind its length
	names []string
	until int64 // of all of them
}

// maxBundle bounds what is read to have one record.
const maxBundle = 256 << 10

func (b *bundle) add(name string, record []byte) spot {
	b.names = append(b.names, name)
	b.text = append(binary.AppendUvarint(b.text, uint64(len(name))), name...)
	b.text = append(binary.AppendUvarint(b.text, uint64(len(record))), record...)
	return spot{b, len(b.text) - len(record), len(b.text)}
}

// takes tells whether one more goes in.
func (b *bundle) takes(size, most int, until int64) bool {
	return len(b.names) < most && len(b.text)+size <= maxBundle && b.until == until
}

// A spot is where a record stands in a bundle.
type spot struct {
	in       *bundle
	from, to int
}

// bundled begins rows of bundles: no JSON does, and no other record.
const bundled = 0xfe

func (s *squeezer) bundle(b *bundle) []byte {
	row := s.squeeze(b.text)
	row[0] = bundled
	return row
}

// eachBundled reads a row, the oldest record first, until told that it is
// enough. A row that is no bundle holds one record, without a name.
func eachBundled(row []byte, tell func(name string, record []byte) (more bool)) error {
	if len(row) == 0 || row[0] != bundled {
		record, err := stretch(row)
		if err == nil {
			tell("", record)
		}
		return err
	}
	text, err := unsqueeze(row[1:])
	if err != nil {
		return err
	}
	for more := true; more && len(text) > 0; {
		var name, record []byte
		if name, text, err = cutPart(text); err == nil {
			record, text, err = cutPart(text)
		}
		if err != nil {
			return err
		}
		more = tell(string(name), record)
	}
	return nil
}

var errBundle = fmt.Errorf("%w: a bundle of records", ErrDamaged)

func cutPart(text []byte) (part, rest []byte, err error) {
	size, n := binary.Uvarint(text)
	if n <= 0 || size > uint64(len(text)-n) {
		return nil, nil, errBundle
	}
	end := n + int(size)
	return text[n:end:end], text[end:], nil
}

// recordOf finds a record by its name: the last, if there are several.
func recordOf(row []byte, name string) (record []byte, err error) {
	found := errors.New("not in the bundle that has it")
	err = eachBundled(row, func(is string, one []byte) bool {
		if is == name {
			record, found = one, nil
		}
		return true
	})
	if err == nil {
		err = found
	}
	return record, err
}
