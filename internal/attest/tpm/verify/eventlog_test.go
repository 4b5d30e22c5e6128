package verify

import (
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/events"
)

// recorded returns a log and the PCRs that a TPM showed with it.
func recorded(t *testing.T, name string) ([]byte, *Quote) {
	t.Helper()
	log, err := os.ReadFile("testdata/boot/" + name + ".log")
	if err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile("testdata/boot/" + name + ".pcrs")
	if err != nil {
		t.Fatal(err)
	}
	q := &Quote{Banks: []tpm.Bank{tpm.SHA256}}
	for i, text := range strings.Fields(string(values)) {
		if _, err := hex.Decode(q.PCRs[i][:], []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return log, q
}

func TestRecordedBootsAreExplained(t *testing.T) {
	sections := map[string]string{ // by sha256sum, see testdata/boot/README.md
		".cmdline": "2b5f12a14ed6961493930520e78e4ec5be4d6c93d59d7d719ac027080e7d8d2e",
		".initrd":  "54bc4d27cd9270b2e90d87853a260af1d6298c4d0e5c551caa670b25ba2d3a0f",
		".linux":   "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275",
		".osrel":   "21e5e89a2f7718115c2e3c3cd4585e5a6e1bfe5cc574501a7475a79288c01c46",
	}
	for name, c := range map[string]struct {
		secure   bool
		programs int // with Secure Boot off, the kernel in the UKI is measured too
	}{"secure-boot-off": {false, 2}, "secure-boot-on": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			log, quote := recorded(t, name)
			claims := attest.Claims{}
			if err := explain(log, quote, claims); err != nil {
				t.Fatal(err)
			}
			if claims["secure_boot"] != c.secure {
				t.Errorf("secure_boot is %v, want %t", claims["secure_boot"], c.secure)
			}
			if got := claims["boot_programs"].([]string); len(got) != c.programs {
				t.Errorf("boot_programs are %q, want %d", got, c.programs)
			}
			if got := claims["uki_sections"].(map[string]string); !maps.Equal(got, sections) {
				t.Errorf("uki_sections are %v, want %v", got, sections)
			}
			if got, want := claims["event_log_pcrs"].([]int), []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11}; !slices.Equal(got, want) {
				t.Errorf("event_log_pcrs are %v, want %v", got, want)
			}
		})
	}
}

func TestLogThatDoesNotReplayNamesThePCR(t *testing.T) {
	log, quote := recorded(t, "secure-boot-on")
	for _, index := range []int{0, 4, 7, 8, 11} {
		altered := *quote
		altered.PCRs[index][0] ^= 1
		err := explain(log, &altered, attest.Claims{})
		var pcr *attest.PCRError
		if !errors.As(err, &pcr) || pcr.PCR != index || !errors.Is(err, attest.ErrEventLog) {
			t.Errorf("PCR %d: got %v", index, err)
		}
	}
}

// A log may replay and still tell of a boot that was none.
func TestSecureBootWithoutAKeyIsNoGoodBoot(t *testing.T) {
	log, quote := recorded(t, "secure-boot-on")
	records, err := replay(log, quote)
	if err != nil {
		t.Fatal(err)
	}
	unused := slices.DeleteFunc(records, func(r events.Record) bool { return r.Type == events.EFIVariableAuthority })
	_, err = events.Tell(unused, quote.Banks)
	const want = "event log replays, but its Secure Boot state is not one of a good boot: secure boot was enabled but no key was used"
	if !errors.Is(err, attest.ErrEventLog) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTruncatedLogIsRefusedOrExplainsLess(t *testing.T) {
	log, quote := recorded(t, "secure-boot-on")
	for n := range len(log) {
		claims := attest.Claims{}
		if err := explain(log[:n], quote, claims); err == nil {
			if pcrs := claims["event_log_pcrs"].([]int); slices.Contains(pcrs, 8) {
				t.Fatalf("a log of %d of %d bytes explains PCR 8", n, len(log))
			}
		} else if !errors.Is(err, attest.ErrEventLog) {
			t.Fatalf("%d bytes: got %v, want %v", n, err, attest.ErrEventLog)
		}
	}
}

func TestUnknownEventTypeIsAnErrorNotAPanic(t *testing.T) {
	log, _ := recorded(t, "secure-boot-on")
	for at := 4; at < 400; at++ { // event types stand somewhere among these
		altered := slices.Clone(log)
		altered[at] ^= 0x55
		if err := explain(altered, quoteOf(altered), attest.Claims{}); err != nil && !errors.Is(err, attest.ErrEventLog) {
			t.Errorf("byte %d: got %v, want %v", at, err, attest.ErrEventLog)
		}
	}
}
