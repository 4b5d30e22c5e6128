package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

func TestFirmwareRefusalEndsTheMachineAtOnce(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	fmt.Fprint(f.far.console, "\x1b[2JBdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0): Access Denied\r\n")
	if o := outcome(t, m); o.Reason != FirmwareRefused {
		t.Errorf("got %s, want %s", o.Reason, FirmwareRefused)
	}
}

func TestMachineThatLingersAfterItsEndIsKilled(t *testing.T) {
	for _, tell := range []string{
		`{"event":"exited","detail":{"code":3}}`,
		`{"event":"refused","detail":{"stage":"attest","reason":"no"}}`,
	} {
		m, f := watchFake(t, 10*time.Millisecond)
		fmt.Fprintln(f.far.control, tell)
		if o := outcome(t, m); o.Reason != PoweredOff && o.Reason != Refused {
			t.Errorf("%s: got %s", tell, o.Reason)
		}
	}
}

func TestRefusalOnTheControlChannelKeepsItsDigest(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	fmt.Fprint(f.far.console, "holdfast: refused: attest: configuration not allowed\n")
	fmt.Fprintln(f.far.control, `{"event":"refused","detail":{"stage":"attest","reason":"configuration not allowed","init_data_digest":"sha256:ab"}}`)
	f.end(Exited{Status: "exit status 0"})
	o := outcome(t, m)
	if o.Reason != Refused || o.Refusal.InitDataDigest != "sha256:ab" {
		t.Errorf("got %+v, want a refusal with its digest", o)
	}
}

func TestRepliesComeThroughThoughNobodyReadsEvents(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	go func() {
		var call api.Call
		line, _ := bufio.NewReader(f.far.control).ReadBytes('\n')
		_ = json.Unmarshal(line, &call)
		for range 3 * maxEvents {
			fmt.Fprintln(f.far.control, `{"event":"stage","detail":{"name":"x"}}`)
		}
		fmt.Fprintf(f.far.control, "{\"event\":\"reply\",\"id\":%d}\n", call.ID)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := m.Call(ctx, api.Call{Call: api.CallStatus}); err != nil {
		t.Error(err)
	}
}

func TestMachineThatBreaksTheProtocolLosesTheChannel(t *testing.T) {
	for name, bad := range map[string]string{
		"endless":    strings.Repeat("x", 2*api.MaxLine),
		"binary":     "\x00\xff\x1b\n",
		"no event":   "{}\n",
		"not JSON":   "stage root\n",
		"wrong type": `{"event":7}` + "\n",
	} {
		m, f := watchFake(t, time.Hour)
		go io.WriteString(f.far.control, bad)
		for range m.Events() { // closed when the channel is lost
			t.Errorf("%s: an event came through", name)
		}
		if _, err := m.Call(t.Context(), api.Call{Call: api.CallStatus}); !errors.Is(err, errChannelClosed) {
			t.Errorf("%s: call: got %v, want %v", name, err, errChannelClosed)
		}
	}
}

func TestStopAsksAndFallsBackToThePowerButton(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	fmt.Fprintln(f.far.control, `{"event":"started"}`)
	<-m.Events()
	go func() {
		var call api.Call
		line, _ := bufio.NewReader(f.far.control).ReadBytes('\n')
		_ = json.Unmarshal(line, &call)
		fmt.Fprintf(f.far.control, "{\"event\":\"reply\",\"id\":%d,\"error\":\"not allowed\"}\n", call.ID)
		<-f.poweredBy
		f.end(Exited{Status: "exit status 0"})
	}()
	if o := m.Stop(t.Context(), 10*time.Second); o.Reason != PoweredOff {
		t.Errorf("got %s, want %s", o.Reason, PoweredOff)
	}
}

func TestStopWithoutTimeKills(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	fmt.Fprintln(f.far.control, `{"event":"started"}`)
	<-m.Events()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := m.Stop(ctx, 10*time.Second); o.Reason != Killed {
		t.Errorf("got %s, want %s", o.Reason, Killed)
	}
}

func TestProcessThatEndsByItselfTellsItsComplaint(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	f.end(Exited{Code: 1, Status: "exit status 1", Stderr: "warning\nqemu: no \x1b[31mmemory\n"})
	o := outcome(t, m)
	want := "the machine's process ended: exit status 1: qemu: no memory"
	if o.Reason != Died || o.String() != want {
		t.Errorf("got %s: %q, want %q", o.Reason, o, want)
	}
}

func TestConsoleIsLoggedAsItCameAndShownHarmless(t *testing.T) {
	m, f := watchFake(t, time.Hour)
	raw := "\x1b]0;title\x07one\r\n\x1b[31mtwo\x1b[0m\n"
	fmt.Fprint(f.far.console, raw)
	f.end(Exited{})
	o := outcome(t, m)
	if got := strings.Join(o.Console, "|"); strings.ContainsAny(got, "\x1b\x07") || !strings.HasSuffix(got, "|two") {
		t.Errorf("got %q", got)
	}
	logged, err := os.ReadFile(filepath.Join(m.spec.Folder, ConsoleLog))
	if err != nil || string(logged) != raw {
		t.Errorf("log: got %q, %v; want %q", logged, err, raw)
	}
}
