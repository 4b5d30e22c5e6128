package measure

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/guid"
)

// recorded is a boot whose event log and PCRs lie in testdata: see README.md there.
func recorded(t *testing.T, name string) (events []tcg.Event, pcrs map[int][32]byte) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".log")
	if err != nil {
		t.Fatal(err)
	}
	log, err := tcg.ParseEventLog(raw, tcg.ParseOpts{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/" + name + ".pcrs")
	if err != nil {
		t.Fatal(err)
	}
	pcrs = map[int][32]byte{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		var n int
		var value []byte
		if _, err := fmt.Sscanf(s.Text(), "%d %x", &n, &value); err != nil {
			t.Fatal(err)
		}
		pcrs[n] = [32]byte(value)
	}
	return log.Events(register.HashSHA256), pcrs
}

// loggedKeys takes the certificates out of the log of a boot with Secure Boot.
func loggedKeys(t *testing.T, events []tcg.Event) efivar.Keys {
	t.Helper()
	var k efivar.Keys
	for name, cert := range map[string]**x509.Certificate{"PK": &k.PK, "KEK": &k.KEK, "db": &k.DB} {
		for _, e := range events {
			units := int(binary.LittleEndian.Uint64(append(e.Data, make([]byte, 32)...)[16:]))
			if e.Type != VariableConfig || units != len(name) || e.Data[32] != name[0] || e.Data[34] != name[1] {
				continue
			}
			signature := e.Data[32+2*units+28:] // behind the list's header
			k.Owner = guid.FromEFI([16]byte(signature[:16]))
			var err error
			if *cert, err = x509.ParseCertificate(signature[16:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return k
}

func TestRecordedBootsHadThePredictedPolicy(t *testing.T) {
	for _, name := range []string{"secure-boot-on", "secure-boot-off"} {
		events, pcrs := recorded(t, name)
		var keys *efivar.Keys
		if name == "secure-boot-on" {
			k := loggedKeys(t, events)
			keys = &k
		}
		want := policyEvents(keys)
		if got := Replay(want, 7)[7]; got != pcrs[7] {
			t.Errorf("%s: PCR 7 predicted %x, recorded %x", name, got, pcrs[7])
		}
		compareEvents(t, name, 7, want, events)
	}
}

func compareEvents(t *testing.T, name string, pcr int, want []Event, log []tcg.Event) {
	t.Helper()
	for _, e := range log {
		if e.Index != pcr {
			continue
		}
		if len(want) == 0 {
			t.Errorf("%s: PCR %d has an event more: type %#x, %q", name, pcr, uint32(e.Type), e.Data)
			return
		}
		if uint32(e.Type) != want[0].Type || !bytes.Equal(e.Digest, want[0].Digest[:]) {
			t.Errorf("%s: PCR %d: logged type %#x %x, want %q, type %#x %x", name, pcr,
				uint32(e.Type), e.Digest, want[0].Name, want[0].Type, want[0].Digest)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("%s: PCR %d lacks %q", name, pcr, want[0].Name)
	}
}

// What is inside the UKI is not in testdata, so its digests are the log's own.
func TestRecordedBootsHadThePredictedEvents(t *testing.T) {
	for name, apps := range map[string]int{"secure-boot-on": 1, "secure-boot-off": 2} {
		events, pcrs := recorded(t, name)
		four := []Event{{4, Action, "", sha256.Sum256([]byte(action))}, separator(4)}
		var eleven []Event
		for _, e := range events {
			if e.Index == 4 && uint32(e.Type) == BootApplication {
				four = append(four, Event{4, BootApplication, "application", [32]byte(e.Digest)})
			}
		}
		for i, e := range eventsOf(events, 11) {
			section := measured[252][i/2]
			digest := [32]byte(e.Digest)
			if i%2 == 0 {
				digest = sha256.Sum256([]byte(section + "\x00"))
			}
			eleven = append(eleven, Event{11, IPL, section, digest})
		}
		if len(four) != 2+apps || len(eleven) != 8 {
			t.Errorf("%s: %d applications, want %d; %d section events, want 8", name, len(four)-2, apps, len(eleven))
		}
		compareEvents(t, name, 4, four, events)
		compareEvents(t, name, 11, eleven, events)
		for pcr, got := range Replay(append(four, eleven...), 4, 11, 12, 13) {
			if got != pcrs[pcr] {
				t.Errorf("%s: PCR %d replays to %x, recorded %x", name, pcr, got, pcrs[pcr])
			}
		}
	}
}

func eventsOf(events []tcg.Event, pcr int) (list []tcg.Event) {
	for _, e := range events {
		if e.Index == pcr {
			list = append(list, e)
		}
	}
	return list
}
