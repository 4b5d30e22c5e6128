package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// judgeConsole replays a console and returns what was found.
func judgeConsole(data []byte) Outcome {
	m := &Machine{backend: newFake(), linger: 1 << 62}
	c := &console{found: m.sawLine}
	m.console = c
	_ = c.read(bytes.NewReader(data))
	return m.judge(Exited{})
}

func TestRecordedConsolesAreJudged(t *testing.T) {
	for file, want := range map[string]string{
		"access-denied":   "the firmware refused the image, whose signature it does not trust: BdsDxe: failed to load",
		"unbootable":      "the firmware found nothing to boot on the disk: BdsDxe: ",
		"verity-data":     "the disk was altered: dm-verity found data block ",
		"verity-metadata": "the disk was altered: dm-verity found metadata block ",
		"panic":           "the machine's kernel panicked: Attempted to kill init! exitcode=",
		"out-of-memory":   "the machine ran out of memory: the image does not fit",
		"good":            "the machine powered off",
	} {
		data, err := os.ReadFile(filepath.Join("testdata/console", file+".log"))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := judgeConsole(data).String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

func TestCauseOutranksConsequence(t *testing.T) {
	const (
		verity = "[    3.1] device-mapper: verity: 254:2: metadata block 7 is corrupted\n"
		refuse = "holdfast: refused: root: input/output error\n"
		panics = "[    3.2] Kernel panic - not syncing: dm-verity device corrupted\n"
	)
	for _, all := range []string{verity + refuse + panics, panics + refuse + verity} {
		o := judgeConsole([]byte(all))
		if o.Reason != VerityCorruption || *o.Corrupt != (CorruptBlock{Device: "254:2", Metadata: true, Number: 7}) {
			t.Errorf("got %+v, want the corrupted block", o)
		}
	}
}

func TestRefusalLineGivesStageAndReason(t *testing.T) {
	o, ok := recognise("holdfast: refused: pull: layer sha256:ab: MAC is wrong")
	if !ok || o.Refusal.Stage != "pull" || o.Refusal.Reason != "layer sha256:ab: MAC is wrong" {
		t.Errorf("got %+v", o.Refusal)
	}
	if _, ok := recognise("the guide says holdfast: refused: pull: x"); ok {
		t.Error("a refusal in the middle of a line was believed")
	}
}
