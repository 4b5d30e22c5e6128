package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/machine"
)

func installation(t *testing.T) (Installation, *admin.Client) {
	t.Helper()
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	broker, err := i.Admin(ring)
	if err != nil {
		t.Fatal(err)
	}
	return i, broker
}

func writeRecord(t *testing.T, i Installation, r Record) {
	t.Helper()
	dir := i.Machine(r.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

const someConfiguration = "sha256:cb1789a6de284e41f4394639ff53fbadd8baee3e6d7ebe16fbe8bee8b28fee49"

func TestWhatADeadRunHadAtTheBrokerIsTakenBackByWhoeverNotices(t *testing.T) {
	for who, notice := range map[string]func(context.Context, Installation) error{
		"ps":   func(ctx context.Context, i Installation) error { _, err := i.Runs(ctx); return err },
		"stop": func(ctx context.Context, i Installation) error { _, err := i.StopRun(ctx, "dead", 0); return err },
		"rm":   func(ctx context.Context, i Installation) error { return i.RemoveRun(ctx, "dead", false) },
		"run of the same name": func(ctx context.Context, i Installation) error {
			s := &session{Run: Run{Name: "dead", Builder: Builder{Installation: i}}, folder: i.Machine("dead")}
			release, err := s.claim(ctx)
			if err != nil {
				return err
			}
			return release()
		},
		"run of another name": func(ctx context.Context, i Installation) error {
			s := &session{Run: Run{Name: "next", Builder: Builder{Installation: i}}, folder: i.Machine("next")}
			release, err := s.claim(ctx)
			if err != nil {
				return err
			}
			return release()
		},
	} {
		t.Run(who, func(t *testing.T) {
			i, broker := installation(t)
			if err := broker.SetResource(t.Context(), "dead/run-secret/token", []byte("geheim")); err != nil {
				t.Fatal(err)
			}
			if err := broker.SetResource(t.Context(), "default/key/other", []byte("stays")); err != nil {
				t.Fatal(err)
			}
			if err := broker.Allow(t.Context(), someConfiguration, []string{"dead/run-secret/token"}); err != nil {
				t.Fatal(err)
			}
			tpm, err := os.MkdirTemp("", "swtpm-")
			if err != nil {
				t.Fatal(err)
			}
			writeRecord(t, i, Record{
				Name: "dead", State: Live, PID: os.Getpid(), Configuration: someConfiguration, TPM: tpm,
				Secrets: []string{"dead/run-secret/token", "dead/run-secret/never-set"},
			})
			if err := notice(t.Context(), i); err != nil {
				t.Fatal(err)
			}
			have, err := broker.Resources(t.Context())
			if err != nil || !slices.Equal(have, []string{"default/key/other"}) {
				t.Errorf("got resources %v and %v", have, err)
			}
			allowed, err := broker.Configurations(t.Context())
			if err != nil || len(allowed) > 0 {
				t.Errorf("got configurations %v and %v", allowed, err)
			}
			if isThere(tpm) {
				t.Error("the folder of its TPM is still there")
			}
		})
	}
}

func TestADeadRunIsListedAsSuchOnceAndForAll(t *testing.T) {
	i, _ := installation(t)
	writeRecord(t, i, Record{Name: "gone", State: Booting, PID: os.Getpid(), Created: time.Now()})
	for range 2 {
		list, err := i.Runs(t.Context())
		if err != nil || len(list) != 1 || list[0].State != Dead || !list[0].Over() || list[0].PID != 0 {
			t.Fatalf("got %+v and %v", list, err)
		}
	}
	r, err := i.StopRun(t.Context(), "gone", time.Second)
	if err != nil || r.State != Dead {
		t.Errorf("stop: got %+v and %v", r, err)
	}
}

func TestAnUnknownNameIsToldWithTheNearest(t *testing.T) {
	i, _ := installation(t)
	writeRecord(t, i, Record{Name: "database", State: Exited, Ended: new(time.Time)})
	var unknown *UnknownRunError
	for _, name := range []string{"databse", "../database", "", "database/"} {
		if _, err := i.FindRun(t.Context(), name); !errors.As(err, &unknown) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if _, err := i.FindRun(t.Context(), "databse"); !strings.HasSuffix(err.Error(), "; did you mean database?") {
		t.Errorf("got %v", err)
	}
}

// A sleep is a process that was given the number of a run's.
func TestOnlyTheProcessThatHasTheRunIsSignalled(t *testing.T) {
	i, _ := installation(t)
	writeRecord(t, i, Record{Name: "r", State: Live})
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	r := &Record{Name: "r", PID: stranger.Process.Pid} // its number is that of a run that ended
	if _, err := i.ask(r, time.Second); err != nil {
		t.Fatal(err)
	}
	for { // a signal would have ended it before it sleeps
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(stranger.Process.Pid), "stat"))
		if err != nil || strings.Contains(string(raw), ") Z") {
			t.Fatalf("the stranger was signalled: %s %v", raw, err)
		}
		if strings.Contains(string(raw), "(sleep) S") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestARecordSaysHowTheRunEnded(t *testing.T) {
	began := time.Now()
	for want, c := range map[string]struct {
		started *time.Time
		result  *Result
		err     error
	}{
		"exited 3":   {&began, &Result{Outcome: machine.Outcome{Reason: machine.PoweredOff, Exit: &api.ExitDetail{Code: 3}}}, nil},
		"exited 137": {&began, &Result{Interrupted: true, Outcome: machine.Outcome{Reason: machine.Killed}}, nil},
		"refused":    {nil, &Result{Outcome: machine.Outcome{Reason: machine.FirmwareRefused}}, nil},
		"failed":     {nil, nil, errors.New("no")},
	} {
		r := Record{Started: c.started, PID: 7}
		r.end(c.result, c.err)
		got := string(r.State)
		if r.Exit != nil {
			got += " " + strconv.Itoa(*r.Exit)
		}
		if got != want || !r.Over() || r.PID != 0 {
			t.Errorf("got %+v, want %s", r, want)
		}
	}
}

func TestARecordThatCannotBeReadEndsNothing(t *testing.T) {
	for name, raw := range map[string]string{"empty": "", "cut": `{"name":"x"`, "list": "[]", "huge": strings.Repeat(" ", maxRecord+1)} {
		i, _ := installation(t)
		writeRecord(t, i, Record{Name: "x"})
		if err := os.WriteFile(filepath.Join(i.Machine("x"), recordFile), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		writeRecord(t, i, Record{Name: "good", State: Exited, Ended: new(time.Time)})
		if list, err := i.Runs(t.Context()); err != nil || len(list) != 1 || list[0].Name != "good" {
			t.Errorf("%s: got %v and %v", name, list, err)
		}
	}
}
