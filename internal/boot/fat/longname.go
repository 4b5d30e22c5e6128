package fat

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
)

// longName is what names may have beyond 8.3: the FAT specification's "Long
// Directory Entries", as far as ASCII goes.
var longName = regexp.MustCompile("^[A-Za-z0-9 $%'_@~!(){}^#&+,;=\\[\\]`.-]{0,254}[A-Za-z0-9$%'_@~!(){}^#&+,;=\\[\\]`-]$")

func isLong(name string) bool { return longName.MatchString(name) && name[0] != ' ' }

var notInAlias = regexp.MustCompile("[^A-Z0-9$%'_@~!(){}^#&-]")

// alias83 is a free 8.3 name for one that is long, or nothing for one that is
// not: the specification's "The Numeric-Tail".
func (n *node) alias83(name string) string {
	upper := strings.ToUpper(name)
	if shortName.MatchString(upper) {
		return ""
	}
	base, ext := upper, ""
	if dot := strings.LastIndexByte(upper, '.'); dot > 0 {
		base, ext = upper[:dot], notInAlias.ReplaceAllString(upper[dot+1:], "")
		ext = "." + ext[:min(3, len(ext))]
	}
	base = notInAlias.ReplaceAllString(base, "")
	for i := 1; ; i++ {
		tail := fmt.Sprintf("~%d", i)
		alias := base[:min(len(base), 8-len(tail))] + tail + strings.TrimSuffix(ext, ".")
		if n.child(alias) == nil {
			return alias
		}
	}
}

func (n *node) shortName() string {
	if n.alias != "" {
		return n.alias
	}
	return n.name
}

const (
	unitsPerLong = 13
	lastLong     = 0x40
)

// long are the entries that hold a long name, the last part of it first.
func (n *node) long() [][]byte {
	if n.alias == "" {
		return nil
	}
	count := (len(n.name) + unitsPerLong - 1) / unitsPerLong
	var list [][]byte
	for i := count; i > 0; i-- {
		e := longEntry(n.name[(i-1)*unitsPerLong:], checksum(short(n.alias)))
		e[0] = byte(i)
		list = append(list, e)
	}
	list[0][0] |= lastLong
	return list
}

// longUnits is where an entry has the units of the name.
var longUnits = [unitsPerLong]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

func longEntry(rest string, sum byte) []byte {
	e := make([]byte, entrySize)
	e[11], e[13] = attrLong, sum
	for i, at := range longUnits {
		unit := uint16(0xffff)
		switch {
		case i < len(rest):
			unit = uint16(rest[i])
		case i == len(rest):
			unit = 0
		}
		binary.LittleEndian.PutUint16(e[at:], unit)
	}
	return e
}

// checksum ties long entries to their short one: the specification's "Short
// Directory Entry Checksum".
func checksum(short string) (sum byte) {
	for i := range len(short) {
		sum = sum>>1 | sum<<7
		sum += short[i]
	}
	return sum
}
