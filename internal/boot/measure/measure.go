// Package measure predicts the PCRs that booting a UKI under OVMF leaves.
//
// Every extend is an Event with a name, so that a difference can be told by
// the event that made it. Predictions hold for systemd-stub 252 and 257, booted
// as \EFI\BOOT\BOOTX64.EFI from the first boot option that firmware tries, under
// OVMF built with Secure Boot (OVMF_CODE_4M.secboot.fd), whether it is on or off.
package measure

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/uki"
)

// A Boot is what decides the predicted PCRs.
type Boot struct {
	UKI  []byte       // as it lies on the ESP
	Keys *efivar.Keys // nil: Secure Boot off
	// Stub is what the UKI was built from. It is needed only where no section
	// says the stub's version: that of arm64 has it behind them.
	Stub []byte
}

// An Event is one extend of the SHA-256 bank.
type Event struct {
	PCR    int
	Type   uint32 // as in the TCG PC Client Platform Firmware Profile, section 10.4.1
	Name   string // for a person
	Digest [32]byte
}

// A Prediction is what the SHA-256 bank holds when the kernel has started.
type Prediction struct {
	PCRs   map[int][32]byte // 4, 7, 11, 12 and 13
	Events []Event          // by PCR, then in the order of the boot
}

// Event types that occur.
const (
	Separator         = 0x00000004
	IPL               = 0x0000000d
	VariableConfig    = 0x80000001
	BootApplication   = 0x80000003
	Action            = 0x80000007
	VariableAuthority = 0x800000e0
)

// Predict computes the PCRs of b.
func Predict(b Boot) (*Prediction, error) {
	apps, err := applications(b)
	if err != nil {
		return nil, fmt.Errorf("predict PCR 4: %w", err)
	}
	sections, err := stubSections(b)
	if err != nil {
		return nil, fmt.Errorf("predict PCR 11: %w", err)
	}
	keys, err := secureBoot(b)
	if err != nil {
		return nil, fmt.Errorf("predict PCR 7: %w", err)
	}
	events := slices.Concat(apps, keys, sections)
	return &Prediction{PCRs: Replay(events, 4, 7, 11, 12, 13), Events: events}, nil
}

// Replay extends the given PCRs, which start at zero, by events.
func Replay(events []Event, pcrs ...int) map[int][32]byte {
	bank := map[int][32]byte{}
	for _, pcr := range pcrs {
		bank[pcr] = [32]byte{}
	}
	for _, e := range events {
		if old, ok := bank[e.PCR]; ok {
			bank[e.PCR] = sha256.Sum256(append(old[:], e.Digest[:]...))
		}
	}
	return bank
}

// FirstDifference finds the first event of a PCR where want and got part; the
// one that is missing on either side is nil. Both are nil when nothing differs.
func FirstDifference(pcr int, want, got []Event) (wanted, found *Event) {
	want, got = ofPCR(want, pcr), ofPCR(got, pcr)
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && want[i].Digest == got[i].Digest {
			continue
		}
		if i < len(want) {
			wanted = &want[i]
		}
		if i < len(got) {
			found = &got[i]
		}
		return wanted, found
	}
	return nil, nil
}

func ofPCR(events []Event, pcr int) []Event {
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.PCR != pcr })
}

// action is what firmware says to PCR 4 before it tries a boot option: the
// profile's section 8.2.4 (EFI_CALLING_EFI_APPLICATION).
const action = "Calling EFI Application from Boot Option"

// applications is what goes to PCR 4. With Secure Boot on, the stub loads its
// kernel past the firmware's check, and so past its measurement.
func applications(b Boot) ([]Event, error) {
	hash, err := uki.Hash(b.UKI)
	if err != nil {
		return nil, fmt.Errorf("UKI: %w", err)
	}
	events := []Event{
		{4, Action, "firmware tries a boot option", sha256.Sum256([]byte(action))},
		separator(4),
		{4, BootApplication, "UKI", hash},
	}
	if b.Keys != nil {
		return events, nil
	}
	kernel, err := section(b.UKI, uki.Linux)
	if err != nil {
		return nil, err
	}
	hash, err = uki.Hash(kernel)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	return append(events, Event{4, BootApplication, "kernel in the UKI", hash}), nil
}

func separator(pcr int) Event {
	return Event{pcr, Separator, "separator: firmware gives way", sha256.Sum256(make([]byte, 4))}
}

// measured is the order in which a version of systemd-stub measures sections:
// src/fundamental/tpm-pcr.h in 252, src/fundamental/uki.h in 257. The section
// of signatures (.pcrsig) is left out on purpose.
var measured = map[int][]string{
	252: {".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"},
	257: {".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat",
		".pcrpkey", ".profile", ".dtbauto", ".hwids"},
}

// A StubError says that nobody knows what this version of systemd-stub measures.
type StubError struct{ Version string }

func (e *StubError) Error() string {
	if e.Version == "" {
		return "the stub is not systemd-stub: it does not say its version"
	}
	return fmt.Sprintf("the stub is %s: boots are predicted for systemd-stub 252 and 257", e.Version)
}

// stubForm is what the stub says of itself.
var stubForm = regexp.MustCompile(`#### LoaderInfo: (systemd-stub ([0-9]+)[^ ]*) ####`)

// sectionsOf gives the sections that the stub measures.
func sectionsOf(b Boot) ([]string, error) {
	said, err := b.version()
	if err != nil {
		return nil, err
	}
	if said == nil {
		return nil, &StubError{}
	}
	version, _ := strconv.Atoi(string(said[2]))
	if list, ok := measured[version]; ok {
		return list, nil
	}
	return nil, &StubError{Version: string(said[1])}
}

// version looks for it in the stub's own sections first.
func (b Boot) version() ([][]byte, error) {
	sections, err := uki.Sections(b.UKI)
	if err != nil {
		return nil, err
	}
	for _, s := range sections {
		if slices.Contains(measured[257], s.Name) {
			continue // not the stub's
		}
		if m := stubForm.FindSubmatch(s.Data); m != nil {
			return m, nil
		}
	}
	return stubForm.FindSubmatch(b.Stub), nil
}

// stubSections is what the stub extends into PCR 11: for each section its
// name with the final zero, then its data.
func stubSections(b Boot) ([]Event, error) {
	names, err := sectionsOf(b)
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, name := range names {
		data, err := section(b.UKI, name)
		if errors.Is(err, errNoSection) {
			continue
		}
		if err != nil {
			return nil, err
		}
		events = append(events,
			Event{11, IPL, "name of section " + name, sha256.Sum256([]byte(name + "\x00"))},
			Event{11, IPL, "section " + name, sha256.Sum256(data)})
	}
	return events, nil
}

var errNoSection = errors.New("the image has no such section")

func section(image []byte, name string) ([]byte, error) {
	sections, err := uki.Sections(image)
	if err != nil {
		return nil, err
	}
	for _, s := range sections {
		if s.Name == name {
			return s.Data, nil
		}
	}
	return nil, fmt.Errorf("section %s: %w", name, errNoSection)
}
