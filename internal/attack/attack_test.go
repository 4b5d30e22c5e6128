package attack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/internal/swtpm"
	"holdfast/internal/wiring"
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	i, err := wiring.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLab(Config{Builder: wiring.Builder{Installation: i}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the lab's folder is still there: %v", err)
		}
	})
	return l
}

func needTPM(t *testing.T) {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): make test installs them", err)
	}
}

// run makes attacks, and returns the verdicts.
func run(t *testing.T, l *Lab, attacks ...Attack) []Result {
	t.Helper()
	r, err := l.Run(t.Context(), attacks, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r.Results
}

func TestEveryAttackWithoutAMachineIsHeld(t *testing.T) {
	needTPM(t)
	attacks, err := Choice{NoBoot: true}.Choose(All())
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	for _, r := range run(t, l, attacks...) {
		t.Logf("%-28s %4d ms  %s", r.Name, r.Milliseconds, Short(r.Says()))
		if r.Verdict != Held {
			t.Errorf("%s: %s: %s", r.Name, r.Verdict, r.Says())
		}
	}
	if err := honestMachine(t.Context(), l); err != nil {
		t.Errorf("the attacks harmed the honest machine: %v", err)
	}
}

// The lab must be able to lose: what changes nothing breaks through.
func TestWhoChangesNothingBreaksThrough(t *testing.T) {
	needTPM(t)
	l := newLab(t)
	attacks := []Attack{
		lying("honest", "p", "c", "r", func(ctx context.Context, s *site) (*suspect, error) { return s.honest(ctx) }),
		spoiling("unspoilt", "p", "c", "r", here(func(*workload) error { return nil })),
		asking("own-key", "p", "c", "r", func(ctx context.Context, s *site, token string) ([]byte, error) {
			return s.get(ctx, ownKey, token)
		}),
		trusting("well-signed", "c", errors.New("r"), func(_ context.Context, s *site) ([]byte, error) {
			return references("another UKI", s.ring.Statements())
		}),
	}
	for _, r := range run(t, l, attacks...) {
		if r.Verdict != Broken {
			t.Errorf("%s: got %s (%s), want it broken", r.Name, r.Verdict, r.Says())
		}
	}
}

func TestVerdicts(t *testing.T) {
	want := Refusal{Broker, "no such key"}
	for _, c := range []struct {
		got  Refusal
		err  error
		want Verdict
	}{
		{Refusal{Broker, "there is no such key here"}, nil, Held},
		{Refusal{Guest, "there is no such key here"}, nil, Wrong},
		{Refusal{Broker, "out of paper"}, nil, Wrong},
		{Broke("the key was given"), nil, Broken},
		{Refusal{}, nil, Broken},
		{Refusal{Broker, "no such key"}, errors.New("the lab"), Failed},
	} {
		if got := judge(want, c.got, c.err); got != c.want {
			t.Errorf("%+v, %v: got %s, want %s", c.got, c.err, got, c.want)
		}
	}
}

func TestWithoutItsControlAnAttackIsNotBelieved(t *testing.T) {
	tried := 0
	control := Control{"the sun rises", func(context.Context, *Lab) error { tried++; return errors.New("it is dark") }}
	refused := func(context.Context, *Lab) (Refusal, error) { return Refusal{Broker, "no"}, nil }
	attack := Attack{Name: "a", Group: "secret", Want: Refusal{Broker, "no"}, Control: control, Run: refused}
	results := run(t, newLab(t), attack, attack)
	for _, r := range results {
		if r.Verdict != Failed || !strings.Contains(r.Error, "the sun rises: it is dark") {
			t.Errorf("got %s: %s", r.Verdict, r.Says())
		}
	}
	if tried != 1 {
		t.Errorf("the control was tried %d times, want once", tried)
	}
}

func TestInterruptedAttacksAreNotMade(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pass := Control{"nothing", func(context.Context, *Lab) error { return nil }}
	attack := Attack{Name: "a", Control: pass, Want: Refusal{Broker, "no"}, Run: func(context.Context, *Lab) (Refusal, error) {
		cancel()
		return Refusal{Broker, "no"}, nil
	}}
	r, err := newLab(t).Run(ctx, []Attack{attack, attack}, 1)
	if !errors.Is(err, context.Canceled) || r.Count[NotRun] != 2 || r.Held() {
		t.Errorf("got %v, %v", r.Count, err)
	}
}

// twoWords at least tell an attack from a group or a package.
var twoWords = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)

func TestEveryAttackSaysWhatItIs(t *testing.T) {
	names := map[string]bool{}
	for _, a := range All() {
		if names[a.Name] || !twoWords.MatchString(a.Name) || !slices.Contains(Groups(), a.Group) {
			t.Errorf("%s: its name is taken or not of two words, or its group %s is none", a.Name, a.Group)
		}
		if a.Promise == "" || a.Change == "" || a.Want.By == Nobody || a.Want.Reason == "" || a.Run == nil || a.Control.Name == "" || a.Control.Run == nil {
			t.Errorf("%s leaves something open: %+v", a.Name, a)
		}
		names[a.Name] = true
	}
}

func TestOneLabAtATime(t *testing.T) {
	l := newLab(t)
	if _, err := NewLab(l.Config); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want %v", err, ErrBusy)
	}
}

func TestSharedPartsAreMadeOnce(t *testing.T) {
	l := newLab(t)
	var made atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			part, err := Shared(l, "part", func() (int, error) { return int(made.Add(1)), errors.New("half made") })
			if part != 1 || err == nil {
				t.Errorf("got %d, %v", part, err)
			}
		})
	}
	group.Wait()
	if _, err := Shared(l, "whole", func() (int, error) { return 1, nil }); err != nil {
		t.Error(err)
	}
	if got, err := Shared(l, "whole", func() (string, error) { return "", nil }); err == nil {
		t.Errorf("a part became %q of another type", got)
	}
}

func TestPartsAreUndoneLastFirst(t *testing.T) {
	i, err := wiring.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLab(Config{Builder: wiring.Builder{Installation: i}})
	if err != nil {
		t.Fatal(err)
	}
	undone := ""
	for n := range 3 {
		l.Later(func() error { undone += fmt.Sprint(n); return nil })
	}
	if err := l.Close(); err != nil || undone != "210" {
		t.Errorf("got %q, %v, want 210", undone, err)
	}
}
