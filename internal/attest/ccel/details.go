package ccel

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-eventlog/tcg"
)

// details reads what an event says, as far as Trustee's policies ask for it.
// What is not as its type has it has no details. The forms are those of TCG PC
// Client Platform Firmware Profile 1.06, section 10.
func details(e tcg.Event) map[string]any {
	switch e.Type.TCGString() {
	case "EV_EFI_PLATFORM_FIRMWARE_BLOB2", "EV_EFI_HANDOFF_TABLES2":
		return description(e.Data)
	case "EV_PLATFORM_CONFIG_FLAGS":
		return text(flags(e.Data))
	case "EV_EVENT_TAG":
		return tagged(e.Data)
	case "EV_IPL":
		before, _, _ := bytes.Cut(e.Data, []byte{0})
		return text(string(before))
	case "EV_EFI_BOOT_SERVICES_APPLICATION":
		return image(e.Data)
	case "EV_EFI_VARIABLE_DRIVER_CONFIG", "EV_EFI_VARIABLE_BOOT", "EV_EFI_VARIABLE_BOOT2", "EV_EFI_VARIABLE_AUTHORITY":
		return variable(e.Data)
	}
	return map[string]any{}
}

func text(s string) map[string]any {
	if !utf8.ValidString(s) {
		s = hex.EncodeToString([]byte(s))
	}
	return map[string]any{"string": s}
}

// description is a length and a text.
func description(data []byte) map[string]any {
	if len(data) == 0 || int(data[0]) >= len(data) {
		return map[string]any{}
	}
	return text(strings.TrimRight(string(data[1:1+int(data[0])]), "\x00"))
}

// flags are text without control characters; td-shim's command line has one
// for a blank. Binary flags have none.
func flags(data []byte) string {
	if !utf8.Valid(data) {
		return ""
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0x10:
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, string(data))
}

func tagged(data []byte) map[string]any {
	if len(data) < 8 || uint64(binary.LittleEndian.Uint32(data[4:])) > uint64(len(data)-8) {
		return map[string]any{}
	}
	body := data[8 : 8+binary.LittleEndian.Uint32(data[4:])]
	return map[string]any{"string": strings.ToValidUTF8(strings.ReplaceAll(string(body), "\x00", ""), "\ufffd")}
}

// image is a program that was started, by the nodes of its device path (UEFI
// 2.11, section 10.3).
func image(data []byte) map[string]any {
	if len(data) < 32 || binary.LittleEndian.Uint64(data[24:]) > uint64(len(data)-32) {
		return map[string]any{}
	}
	path := data[32 : 32+binary.LittleEndian.Uint64(data[24:])]
	var nodes []string
	for len(path) >= 4 {
		size := int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) || path[0] == 0x7f {
			break
		}
		nodes = append(nodes, node(path[0], path[1], path[4:size]))
		path = path[size:]
	}
	if nodes == nil {
		return map[string]any{}
	}
	return map[string]any{"device_paths": nodes}
}

func node(kind, sub byte, data []byte) string {
	if kind == 4 && sub == 4 {
		return "File(" + utf16Text(data) + ")"
	}
	return fmt.Sprintf("Path(%d,%d,%s)", kind, sub, hex.EncodeToString(data))
}

func utf16Text(data []byte) string {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, binary.LittleEndian.Uint16(data))
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}

func variable(data []byte) map[string]any {
	if len(data) < 32 {
		return map[string]any{}
	}
	letters, size := binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:])
	rest := data[32:]
	if letters > uint64(len(rest)/2) || size > uint64(len(rest))-2*letters {
		return map[string]any{}
	}
	id := data[:16]
	return map[string]any{
		"unicode_name": utf16Text(rest[:2*letters]), "unicode_name_length": letters,
		"variable_data":        base64.StdEncoding.EncodeToString(rest[2*letters : 2*letters+size]),
		"variable_data_length": size,
		"variable_name":        fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
	}
}
