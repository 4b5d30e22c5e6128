package verify

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/google/go-eventlog/tcg"
)

// An Event is one measurement in words.
type Event struct {
	PCR    int    `json:"pcr"`
	Type   string `json:"type"` // as the TCG names it: EV_…
	Digest string `json:"digest"`
	Text   string `json:"text"`
	// Proven says that the digest is of what Text tells. Otherwise the digest
	// was measured, and the text is the machine's word.
	Proven bool `json:"proven"`
}

// fixed are the words for events whose data says nothing to a person.
var fixed = map[tcg.EventType]string{
	tcg.EFIPlatformFirmwareBlob:  "a volume of firmware",
	tcg.EFIPlatformFirmwareBlob2: "a volume of firmware",
	tcg.EFIHandoffTables:         "tables that firmware hands over",
	tcg.EFIHandoffTables2:        "tables that firmware hands over",
	tcg.EFIGPTEvent:              "the disk's partition table",
	tcg.EFIBootServicesDriver:    "a driver",
	tcg.EFIRuntimeServicesDriver: "a driver that stays",
}

// words tells what e measured, and whether its digest proves that (TCG PC
// Client Platform Firmware Profile 1.05, 10.4.1).
func words(e tcg.Event, section *string) (text string, proven bool) {
	sum := sha256.Sum256(e.Data)
	proven = bytes.Equal(sum[:], e.Digest)
	switch e.Type {
	case tcg.Separator:
		return separatorWords(e.Data), proven
	case tcg.EFIVariableDriverConfig, tcg.EFIVariableBoot, tcg.EFIVariableBoot2, tcg.EFIVariableAuthority:
		return variableWords(e), proven
	case tcg.EFIAction, tcg.Action:
		return quoted(string(e.Data)), proven
	case tcg.SCRTMVersion:
		return "version of the firmware: " + cmp.Or(quoted(utf16Text(e.Data)), "none is given"), proven
	case tcg.EFIBootServicesApplication:
		return "program that firmware started: " + quoted(filePath(e.Data)), false
	case tcg.Ipl:
		return iplWords(e, section)
	case tcg.EventTag: // TCG_PCClientTaggedEvent: a number and a length before the text
		return quoted(string(e.Data[min(8, len(e.Data)):])), false
	}
	if text, ok := fixed[e.Type]; ok {
		return text, false
	}
	return quoted(string(e.Data)), proven
}

func separatorWords(data []byte) string {
	if bytes.Equal(data, make([]byte, 4)) {
		return "separator: firmware gives way to what it boots"
	}
	return "separator with another value than zero: firmware says that it failed"
}

// variableWords reads a UEFI_VARIABLE_DATA (profile, 10.2.6).
func variableWords(e tcg.Event) string {
	const header = 32 // GUID, length of the name in characters, length of the data
	if len(e.Data) < header {
		return "a variable"
	}
	name := binary.LittleEndian.Uint64(e.Data[16:])
	size := binary.LittleEndian.Uint64(e.Data[24:])
	rest := e.Data[header:]
	if name > uint64(len(rest))/2 || size > uint64(len(rest))-2*name {
		return "a variable"
	}
	value := rest[2*name : 2*name+size]
	called := quoted(utf16Text(rest[:2*name]))
	switch {
	case e.Type == tcg.EFIVariableAuthority:
		return fmt.Sprintf("entry of %s that admitted a program, %d bytes", called, size)
	case size == 0:
		return fmt.Sprintf("variable %s: empty", called)
	case size == 1:
		return fmt.Sprintf("variable %s: %d", called, value[0])
	}
	return fmt.Sprintf("variable %s: %d bytes", called, size)
}

// iplWords knows the three writers of such events that a machine of ours has:
// systemd-stub (UTF-16, PCR 11 in pairs of name and content), holdfast-node,
// and kernels (ASCII).
func iplWords(e tcg.Event, section *string) (string, bool) {
	text := string(e.Data)
	if len(e.Data) >= 2 && e.Data[1] == 0 {
		text = utf16Text(e.Data)
	}
	if e.Index != ukiPCR {
		return quoted(text), false
	}
	if sum := sha256.Sum256([]byte(text + "\x00")); bytes.Equal(sum[:], e.Digest) {
		*section = text
		return "name of section " + quoted(text), true
	}
	if text == *section {
		return "content of section " + quoted(text), false
	}
	return quoted(text), false
}

// filePath joins the file path nodes of a UEFI_IMAGE_LOAD_EVENT's device path
// (profile, 10.2.3; UEFI 2.10, 10.3.5.4).
func filePath(data []byte) string {
	const header = 32
	var parts []string
	for data = data[min(header, len(data)):]; len(data) >= 4; {
		size := int(binary.LittleEndian.Uint16(data[2:]))
		if size < 4 || size > len(data) {
			break
		}
		if data[0] == 4 && data[1] == 4 {
			parts = append(parts, utf16Text(data[4:size]))
		}
		data = data[size:]
	}
	if len(parts) == 0 {
		return "not from a file"
	}
	return strings.Join(parts, "")
}

const maxWords = 120 // runes of a machine's own text

// quoted makes a machine's text fit for a page: one line, no control
// characters, bounded.
func quoted(text string) string {
	text = strings.TrimRight(text, "\x00")
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(text, "·"))
	if runes := []rune(clean); len(runes) > maxWords {
		clean = string(runes[:maxWords]) + "…"
	}
	return clean
}

func utf16Text(data []byte) string {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		if u := binary.LittleEndian.Uint16(data); u != 0 {
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}
