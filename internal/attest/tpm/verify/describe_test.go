package verify

import (
	"crypto/sha256"
	"strings"
	"testing"
	"unicode"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/events"
)

// utf16Of is text as firmware writes it.
func utf16Of(text string) []byte {
	var out []byte
	for _, c := range []byte(text) {
		out = append(out, c, 0)
	}
	return out
}

func TestEventsAreToldInWords(t *testing.T) {
	variable := append(make([]byte, 16), 10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
	variable = append(append(variable, utf16Of("SecureBoot")...), 1)
	path := append(make([]byte, 32), 4, 4, 10, 0)
	path = append(append(path, utf16Of(`\A`)...), 0, 0, 0x7f, 0xff, 4, 0)
	for _, c := range []struct {
		event  events.Type
		pcr    int
		data   []byte
		of     []byte // what the digest is of
		want   string
		proven bool
	}{
		{events.Separator, 4, make([]byte, 4), make([]byte, 4), "separator: firmware gives way to what it boots", true},
		{events.Separator, 4, []byte{1, 0, 0, 0}, []byte{1, 0, 0, 0}, "separator with another value than zero: firmware says that it failed", true},
		{events.EFIVariableDriverConfig, 7, variable, variable, "variable SecureBoot: 1", true},
		{events.EFIVariableDriverConfig, 7, variable, []byte("other"), "variable SecureBoot: 1", false},
		{events.EFIVariableDriverConfig, 7, variable[:20], variable, "a variable", false},
		{events.EFIVariableAuthority, 7, variable, variable, "entry of SecureBoot that admitted a program, 1 bytes", true},
		{events.EFIBootServicesApplication, 4, path, nil, `program that firmware started: \A`, false},
		{events.EFIBootServicesApplication, 4, nil, nil, "program that firmware started: not from a file", false},
		{events.EFIAction, 5, []byte("Exit"), []byte("Exit"), "Exit", true},
		{events.SCRTMVersion, 0, utf16Of("1.0"), utf16Of("1.0"), "version of the firmware: 1.0", true},
		{events.IPL, 11, utf16Of(".linux"), []byte(".linux\x00"), "name of section .linux", true},
		{events.IPL, 11, utf16Of(".linux"), []byte("kernel"), "content of section .linux", false},
		{events.IPL, 8, []byte("holdfast init-data\x00"), nil, "holdfast init-data", false},
		{events.EventTag, 9, []byte("\x01\x00\x00\x00\x02\x00\x00\x00Linux initrd"), nil, "Linux initrd", false},
		{events.Type(1), 0, []byte("\x1b[31mred\nline"), nil, "·[31mred·line", false},
	} {
		d := &describer{banks: []tpm.Bank{tpm.SHA256}, section: ".linux"}
		sum := sha256.Sum256(c.of)
		got, proven := d.words(&events.Record{PCR: c.pcr, Type: c.event, Data: c.data, SHA256: sum[:]})
		if got != c.want || proven != c.proven {
			t.Errorf("%v: got %q, proven %v; want %q, %v", c.event, got, proven, c.want, c.proven)
		}
	}
}

//fuzz:parser describe.go
func FuzzWords(f *testing.F) {
	f.Add(uint32(events.EFIVariableDriverConfig), 7, make([]byte, 64))
	f.Add(uint32(events.EFIBootServicesApplication), 4, append(make([]byte, 32), 4, 4, 8, 0, 65, 0, 0, 0))
	f.Fuzz(func(t *testing.T, event uint32, pcr int, data []byte) {
		d := &describer{banks: []tpm.Bank{tpm.SHA256}}
		text, _ := d.words(&events.Record{PCR: pcr, Type: events.Type(event), Data: data, SHA256: make([]byte, 32)})
		if strings.ContainsFunc(text, unicode.IsControl) || len([]rune(text)) > maxWords+200 {
			t.Errorf("got %q, want one short line", text)
		}
	})
}
