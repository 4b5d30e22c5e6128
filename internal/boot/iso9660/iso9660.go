// Package iso9660 finds a file in an ISO 9660 volume (ECMA-119), as clouds
// hand configs over on virtual CD-ROMs.
//
// It reads without mounting: whoever made the volume meets this parser, which
// is fuzzed, and not the kernel's.
package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// ErrFormat is matched when a volume is not ISO 9660, or damaged.
var ErrFormat = errors.New("not a good ISO 9660 volume")

const (
	sector    = 2048
	firstDesc = 16      // sector of the first volume descriptor
	maxDescs  = 32      // that are looked at
	maxFolder = 8 << 20 // bytes
)

// A record of a folder: 9.1.
type record struct {
	name   string
	at     int64
	size   int64
	folder bool
}

type volume struct {
	r      io.ReaderAt
	joliet bool
}

// Open finds a file by its path, or fs.ErrNotExist. Names are Joliet's, else
// Rock Ridge's, else those of ISO 9660, in which case does not matter.
func Open(r io.ReaderAt, name string) (*io.SectionReader, error) {
	v := volume{r: r}
	at, err := v.root()
	if err != nil {
		return nil, err
	}
	parts := strings.Split(strings.Trim(name, "/"), "/")
	for i, part := range parts {
		next, err := v.find(at, part)
		if err == nil && next.folder == (i == len(parts)-1) {
			err = fs.ErrNotExist
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		at = next
	}
	return io.NewSectionReader(r, at.at, at.size), nil
}

// root is the root folder's record in the best of the descriptors: 8.4.18.
func (v *volume) root() (record, error) {
	var root record
	found := false
	for i := int64(0); i < maxDescs; i++ {
		b := make([]byte, sector)
		if _, err := v.r.ReadAt(b, (firstDesc+i)*sector); err != nil || string(b[1:6]) != "CD001" || b[0] == 255 {
			break
		}
		// a supplementary one in UCS-2, of any level, is Joliet's
		if isJoliet := b[0] == 2 && b[88] == '%' && b[89] == '/'; isJoliet || b[0] == 1 && !found {
			rec, _, err := v.record(b[156:190])
			if err != nil {
				return root, err
			}
			root, found, v.joliet = rec, true, isJoliet
		}
	}
	if !found || !root.folder {
		return root, fmt.Errorf("%w: no volume descriptor", ErrFormat)
	}
	return root, nil
}

func (v *volume) find(folder record, name string) (record, error) {
	if folder.size > maxFolder {
		return record{}, fmt.Errorf("%w: a folder of %d bytes", ErrFormat, folder.size)
	}
	b := make([]byte, folder.size)
	if _, err := v.r.ReadAt(b, folder.at); err != nil {
		return record{}, fmt.Errorf("%w: a folder is cut off", ErrFormat)
	}
	for at := 0; at < len(b); {
		if b[at] == 0 { // records do not cross sectors
			at = (at/sector + 1) * sector
			continue
		}
		rec, n, err := v.record(b[at:])
		if err != nil {
			return record{}, err
		}
		if rec.name == name || !v.joliet && strings.EqualFold(rec.name, name) {
			return rec, nil
		}
		at += n
	}
	return record{}, fs.ErrNotExist
}

// record reads one at the start of b, and its length.
func (v *volume) record(b []byte) (record, int, error) {
	if len(b) < 34 || int(b[0]) > len(b) || b[0] < 34 || 33+int(b[32]) > int(b[0]) {
		return record{}, 0, fmt.Errorf("%w: a folder's record", ErrFormat)
	}
	le := binary.LittleEndian
	rec := record{at: int64(le.Uint32(b[2:])) * sector, size: int64(le.Uint32(b[10:])), folder: b[25]&2 != 0}
	id, rest := b[33:33+int(b[32])], b[33+int(b[32]):b[0]]
	rec.name = v.identifier(id)
	if long := rockRidge(rest, len(id)); long != "" && !v.joliet {
		rec.name = long
	}
	return rec, int(b[0]), nil
}

// identifier is a name without its version: 7.5.
func (v *volume) identifier(id []byte) string {
	name := string(id)
	if v.joliet {
		units := make([]uint16, len(id)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(id[2*i:])
		}
		name = string(utf16.Decode(units))
	}
	name, _, _ = strings.Cut(name, ";")
	return strings.TrimSuffix(name, ".")
}

// rockRidge joins the NM fields behind a record (IEEE P1282, 4.1.4), which
// begin at an even place.
func rockRidge(b []byte, id int) string {
	if id%2 == 0 && len(b) > 0 {
		b = b[1:]
	}
	var name strings.Builder
	for len(b) >= 4 && int(b[2]) >= 4 && int(b[2]) <= len(b) {
		if field := b[:b[2]]; string(field[:2]) == "NM" && len(field) > 5 {
			name.Write(field[5:])
		}
		b = b[b[2]:]
	}
	return name.String()
}
