package verify

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"holdfast/internal/attest"
)

var replayed = regexp.MustCompile(`(?m)^ {4}(\d+) *: 0x([0-9a-f]{64})$`)

// What tpm2-tools replay from the logs of our guests are the PCRs that their
// TPM quoted, for just the PCRs that we say the log explains.
func TestEventlogToolReplaysTheQuotedPCRs(t *testing.T) {
	tool, err := exec.LookPath("tpm2_eventlog")
	if err != nil {
		t.Skip("needs tpm2_eventlog: apt-get install tpm2-tools")
	}
	for _, name := range []string{"secure-boot-off", "secure-boot-on"} {
		out, err := exec.Command(tool, "testdata/boot/"+name+".log").Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		log, quote := recorded(t, name)
		claims := attest.Claims{}
		if err := explain(log, quote, claims); err != nil {
			t.Fatal(err)
		}
		theirs := map[int]string{}
		for _, m := range replayed.FindAllSubmatch(out, -1) {
			index, _ := strconv.Atoi(string(m[1]))
			theirs[index] = string(m[2])
		}
		explained := claims["event_log_pcrs"].([]int)
		if len(theirs) != len(explained) {
			t.Errorf("%s: tpm2_eventlog replays %d PCRs, we %v", name, len(theirs), explained)
		}
		for _, index := range explained {
			if want := fmt.Sprintf("%x", quote.PCRs[index]); theirs[index] != want {
				t.Errorf("%s: PCR %d: tpm2_eventlog has %s, the quote %s", name, index, theirs[index], want)
			}
		}
	}
}
