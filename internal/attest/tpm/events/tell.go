package events

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// What the PCRs named here hold (UAPI group, Linux TPM PCR Registry; profile,
// 3.3.4).
const (
	romPCR        = 2  // drivers on cards
	bootPCR       = 4  // programs that firmware started
	partitionPCR  = 5  // the disk's partition table
	secureBootPCR = 7  // Secure Boot state and keys
	configPCR     = 8  // configuration: ours, and GRUB's commands
	kernelPCR     = 9  // what kernels were given
	UKIPCR        = 11 // the UKI's sections, by systemd-stub
	cmdlinePCR    = 12 // command lines that override the UKI's
)

// Tell is what replayed records say of the boot, as claims: those of
// docs/formats/tpm-events.md.
func Tell(records []Record, banks []tpm.Bank) (attest.Claims, error) {
	claims := attest.Claims{"event_log_pcrs": pcrs(records)}
	boot, err := readSecureBoot(records, banks)
	if err != nil {
		return nil, err
	}
	if boot != nil {
		boot.tell(claims)
	}
	t := teller{banks: banks, sections: map[string]string{}}
	for i := range records {
		t.hear(&records[i])
	}
	t.tell(claims)
	return claims, nil
}

func pcrs(records []Record) []int {
	list := []int{}
	for _, r := range records {
		if !slices.Contains(list, r.PCR) {
			list = append(list, r.PCR)
		}
	}
	slices.Sort(list)
	return list
}

func (s *secureBoot) tell(claims attest.Claims) {
	claims["secure_boot"] = s.Enabled
	keys := map[string]Keys{}
	for _, name := range []string{"PK", "KEK", "db", "dbx"} {
		if k, ok := s.Keys[name]; ok {
			keys[name] = k
		}
	}
	if len(keys) > 0 {
		claims["secure_boot_keys"] = keys
	}
	if len(s.Signers) > 0 {
		claims["secure_boot_signers"] = s.Signers
	}
	if s.DMAOpen {
		claims["dma_protection_disabled"] = true
	}
}

// A Measurement is a digest, and the text that it is of, if it is.
type Measurement struct {
	PCR    int    `json:"pcr"`
	Type   string `json:"type"`
	Digest string `json:"digest"`
	Text   string `json:"text,omitempty"`
}

// A teller goes through the records in their order.
type teller struct {
	banks    []tpm.Bank
	section  string // of the UKI, whose name was measured last
	sections map[string]string
	programs []string
	drivers  []Measurement
	config   []Measurement
	cmdlines []Measurement
	gpt      *PartitionTable
	firmware string
}

func (t *teller) hear(r *Record) {
	switch {
	case r.PCR == bootPCR && r.Type == EFIBootServicesApplication:
		t.programs = append(t.programs, r.hex())
	case r.PCR == romPCR && (r.Type == EFIBootServicesDriver || r.Type == EFIRuntimeServicesDriver || r.Type == EFIBootServicesApplication):
		t.drivers = append(t.drivers, t.measurement(r, ""))
	case r.PCR == partitionPCR && r.Type == EFIGPTEvent && t.gpt == nil && r.Of(r.Data, t.banks):
		t.gpt = readGPT(r.Data)
	case r.PCR == 0 && r.Type == SCRTMVersion && r.Of(r.Data, t.banks):
		t.firmware = printable(UTF16(r.Data))
	case r.PCR == UKIPCR && r.Type == IPL:
		t.ukiSection(r)
	case r.PCR == configPCR:
		t.configured(r)
	case (r.PCR == cmdlinePCR || r.PCR == kernelPCR) && (r.Type == IPL || r.Type == EventTag):
		t.commandLine(r)
	}
}

// ukiSection: systemd-stub measures each section as two events, its name and
// then its bytes, which both carry the name in UTF-16.
func (t *teller) ukiSection(r *Record) {
	text := UTF16(r.Data)
	if t.section == "" && r.Of([]byte(text+"\x00"), t.banks) {
		t.section = text
		return
	}
	if t.section != "" && text == t.section {
		t.sections[t.section] = r.hex()
	}
	t.section = ""
}

// configured hears what was measured into PCR 8. GRUB logs "kernel_cmdline: "
// and "grub_cmd: " before the string that it measured.
func (t *teller) configured(r *Record) {
	if r.Type != IPL && r.Type != EventTag {
		return
	}
	label, text := "", bytes.TrimRight(r.Data, "\x00")
	if before, after, ok := bytes.Cut(text, []byte(": ")); ok {
		label, text = string(before), after
	}
	m := t.measurement(r, "")
	for _, content := range [][]byte{text, append(bytes.Clone(text), 0), r.Data} {
		if r.Of(content, t.banks) {
			m.Text = printable(string(content))
			break
		}
	}
	t.config = append(t.config, m)
	if label == "kernel_cmdline" && m.Text != "" {
		t.cmdlines = append(t.cmdlines, m)
	}
}

// commandLine hears command lines of systemd-stub: in UTF-16, measured with the
// zero at their end, or without.
func (t *teller) commandLine(r *Record) {
	data := r.Data
	if !r.Of(data, t.banks) || len(data) < 2 || data[1] != 0 {
		return
	}
	t.cmdlines = append(t.cmdlines, t.measurement(r, UTF16(data)))
}

func (t *teller) measurement(r *Record, text string) Measurement {
	return Measurement{PCR: r.PCR, Type: r.Type.String(), Digest: r.hex(), Text: printable(text)}
}

func (t *teller) tell(claims attest.Claims) {
	if len(t.programs) > 0 {
		claims["boot_programs"] = t.programs
	}
	if len(t.sections) > 0 {
		claims["uki_sections"] = t.sections
	}
	for name, list := range map[string][]Measurement{"option_roms": t.drivers, "configuration": t.config, "command_lines": t.cmdlines} {
		if len(list) > 0 {
			claims[name] = list
		}
	}
	if t.gpt != nil {
		claims["partition_table"] = t.gpt
	}
	if t.firmware != "" {
		claims["firmware_version"] = t.firmware
	}
}

// hex is the digest by which others know the record: of SHA-256, else SHA-384.
func (r *Record) hex() string {
	if r.SHA256 != nil {
		return hex.EncodeToString(r.SHA256)
	}
	return hex.EncodeToString(r.SHA384)
}

const maxText = 4096 // bytes of a machine's own text

func printable(text string) string {
	text = strings.ToValidUTF8(strings.TrimRight(text, "\x00"), "�")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	return text
}
