// Package guid holds the 128-bit names that partitions and firmware use.
//
// A GUID is kept in the order it is written in; EFI stores the first three
// groups little-endian, and only that form ever reaches a disk.
package guid

import (
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// A GUID in text order (RFC 9562).
type GUID [16]byte

var form = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Parse reads the usual form, as in 4f68bce3-e8cd-4db1-96e7-fbcaf984b709.
func Parse(s string) (GUID, error) {
	var g GUID
	if !form.MatchString(s) {
		return g, fmt.Errorf("GUID %.40q: want 8-4-4-4-12 hex digits", s)
	}
	_, err := hex.Decode(g[:], []byte(strings.ReplaceAll(s, "-", "")))
	return g, err
}

// Must is Parse for constants.
func Must(s string) GUID {
	g, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return g
}

func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// EFI is the form on disk: UEFI 2.10, appendix A.
func (g GUID) EFI() [16]byte {
	return [16]byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6],
		g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

// FromEFI reads the form on disk.
func FromEFI(b [16]byte) GUID { return GUID(GUID(b).EFI()) }

// New is a random one: RFC 9562, section 5.4.
func New(random io.Reader) (GUID, error) {
	var g GUID
	if _, err := io.ReadFull(random, g[:]); err != nil {
		return g, fmt.Errorf("random GUID: %w", err)
	}
	g[6], g[8] = g[6]&0x0f|0x40, g[8]&0x3f|0x80
	return g, nil
}
