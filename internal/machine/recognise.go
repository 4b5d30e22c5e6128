package machine

import (
	"regexp"
	"strconv"
	"strings"

	"holdfast/internal/api"
)

// escapes matches the terminal sequences that firmware strews between words
// (ECMA-48 CSI, and OVMF's "ESC [ = 3 h").
var escapes = regexp.MustCompile("\x1b(\\[[0-9;?=]*[@-~]|[@-Z\\\\^_])")

var (
	printkTime = regexp.MustCompile(`^\[ *[0-9]+\.[0-9]+\] `)

	// EDK II, MdeModulePkg/Universal/BdsDxe/BdsEntry.c and UefiBootManagerLib/BmBoot.c.
	bootDenied = regexp.MustCompile(`BdsDxe: failed to (?:load|start) .*: (?:Access Denied|Security Violation)`)
	bootNone   = regexp.MustCompile(`BdsDxe: (?:No bootable option or device was found|starting \S+ "EFI Internal Shell")`)

	// Linux, drivers/md/dm-verity-target.c: verity_handle_err.
	verityBad = regexp.MustCompile(`device-mapper: verity: (\S{1,64}): (data|metadata) block ([0-9]{1,19}) is corrupted`)

	// Linux, kernel/panic.c.
	// Process 1 is all there is to kill: mm/oom_kill.c.
	outOfMemory = regexp.MustCompile(`Kernel panic - not syncing: System is deadlocked on memory`)
	panicked    = regexp.MustCompile(`Kernel panic - not syncing: (.*)`)
)

const refusedPrefix = "holdfast: refused: "

// recognise reads one printable console line. It reports an outcome when the
// line alone decides how the machine's life ends.
func recognise(line string) (Outcome, bool) {
	line = printkTime.ReplaceAllString(line, "")
	if rest, ok := strings.CutPrefix(line, refusedPrefix); ok {
		return refusedLine(rest), true
	}
	if bootDenied.MatchString(line) {
		return Outcome{Reason: FirmwareRefused, Words: line}, true
	}
	if bootNone.MatchString(line) {
		return Outcome{Reason: Unbootable, Words: line}, true
	}
	if m := verityBad.FindStringSubmatch(line); m != nil {
		return corrupted(m), true
	}
	if outOfMemory.MatchString(line) {
		return Outcome{Reason: OutOfMemory, Words: line}, true
	}
	if m := panicked.FindStringSubmatch(line); m != nil {
		return Outcome{Reason: KernelPanic, Words: m[1]}, true
	}
	return Outcome{}, false
}

func refusedLine(rest string) Outcome {
	stage, reason, ok := strings.Cut(rest, ": ")
	if !ok {
		stage, reason = "unknown", rest
	}
	return Outcome{Reason: Refused, Refusal: &api.RefusedDetail{Stage: stage, Reason: reason}}
}

func corrupted(m []string) Outcome {
	number, _ := strconv.ParseUint(m[3], 10, 64) // 19 digits always fit
	return Outcome{
		Reason:  VerityCorruption,
		Words:   m[0],
		Corrupt: &CorruptBlock{Device: m[1], Metadata: m[2] == "metadata", Number: number},
	}
}
