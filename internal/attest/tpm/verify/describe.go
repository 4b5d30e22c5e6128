package verify

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/events"
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

// A describer puts records into words, in their order.
type describer struct {
	banks   []tpm.Bank
	section string // of the UKI, whose name was measured last
}

func (d *describer) describe(r *events.Record) Event {
	text, proven := d.words(r)
	return Event{PCR: r.PCR, Type: r.Type.String(), Digest: hex.EncodeToString(r.Digest(d.banks[0])), Text: text, Proven: proven}
}

// fixed are the words for events whose data says nothing to a person.
var fixed = map[events.Type]string{
	events.EFIPlatformFirmwareBlob:  "a volume of firmware",
	events.EFIPlatformFirmwareBlob2: "a volume of firmware",
	events.EFIHandoffTables:         "tables that firmware hands over",
	events.EFIHandoffTables2:        "tables that firmware hands over",
	events.EFIGPTEvent:              "the disk's partition table",
	events.EFIGPTEvent2:             "the disk's partition table",
	events.EFIBootServicesDriver:    "a driver",
	events.EFIRuntimeServicesDriver: "a driver that stays",
}

// words tells what r measured, and whether its digest proves that (TCG PC
// Client Platform Firmware Profile 1.05, 10.4.1).
func (d *describer) words(r *events.Record) (text string, proven bool) {
	proven = r.Of(r.Data, d.banks)
	switch r.Type {
	case events.Separator:
		return separatorWords(r.Data), proven
	case events.EFIVariableDriverConfig, events.EFIVariableBoot, events.EFIVariableBoot2, events.EFIVariableAuthority:
		return variableWords(r), proven
	case events.EFIAction, events.Action:
		return quoted(string(r.Data)), proven
	case events.SCRTMVersion:
		return "version of the firmware: " + cmp.Or(quoted(events.UTF16(r.Data)), "none is given"), proven
	case events.EFIBootServicesApplication:
		return "program that firmware started: " + cmp.Or(quoted(events.FilePath(r.Data)), "not from a file"), false
	case events.IPL:
		return d.iplWords(r)
	case events.EventTag: // TCG_PCClientTaggedEvent: a number and a length before the text
		return quoted(string(r.Data[min(8, len(r.Data)):])), false
	}
	if text, ok := fixed[r.Type]; ok {
		return text, false
	}
	return quoted(string(r.Data)), proven
}

func separatorWords(data []byte) string {
	if bytes.Equal(data, make([]byte, 4)) {
		return "separator: firmware gives way to what it boots"
	}
	return "separator with another value than zero: firmware says that it failed"
}

func variableWords(r *events.Record) string {
	v, _, err := events.ReadVariable(r.Data)
	if err != nil {
		return "a variable"
	}
	called := quoted(v.Name)
	switch {
	case r.Type == events.EFIVariableAuthority:
		return fmt.Sprintf("entry of %s that admitted a program, %d bytes", called, len(v.Data))
	case len(v.Data) == 0:
		return fmt.Sprintf("variable %s: empty", called)
	case len(v.Data) == 1:
		return fmt.Sprintf("variable %s: %d", called, v.Data[0])
	}
	return fmt.Sprintf("variable %s: %d bytes", called, len(v.Data))
}

// iplWords knows the three writers of such events that a machine of ours has:
// systemd-stub (UTF-16, PCR 11 in pairs of name and content), holdfast-node,
// and kernels (ASCII).
func (d *describer) iplWords(r *events.Record) (string, bool) {
	text := string(r.Data)
	if len(r.Data) >= 2 && r.Data[1] == 0 {
		text = events.UTF16(r.Data)
	}
	if r.PCR != events.UKIPCR {
		return quoted(text), false
	}
	if r.Of([]byte(text+"\x00"), d.banks) {
		d.section = text
		return "name of section " + quoted(text), true
	}
	if text == d.section {
		return "content of section " + quoted(text), false
	}
	return quoted(text), false
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
