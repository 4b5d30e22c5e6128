package attack

import (
	"slices"
	"testing"

	"holdfast/internal/swtpm"
	"holdfast/internal/wiring"
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): make test installs them", err)
	}
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
	})
	return l
}

func TestEveryAttackWithoutAMachineIsHeld(t *testing.T) {
	l := newLab(t)
	attacks, err := Choice{NoBoot: true}.Choose(All())
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Run(t.Context(), attacks, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range r.Results {
		t.Logf("%-28s %4d ms  %s", result.Name, result.Milliseconds, Short(result.Says()))
		if result.Verdict != Held {
			t.Errorf("%s: %s: %s", result.Name, result.Verdict, result.Says())
		}
	}
}

func TestEveryAttackSaysWhatItIs(t *testing.T) {
	names := map[string]bool{}
	for _, a := range All() {
		if names[a.Name] || !slices.Contains(Groups(), a.Group) {
			t.Errorf("%s: its name is taken, or its group %s is none", a.Name, a.Group)
		}
		if a.Promise == "" || a.Change == "" || a.Want.By == Nobody || a.Want.Reason == "" || a.Run == nil || a.Control.Name == "" || a.Control.Run == nil {
			t.Errorf("%s leaves something open: %+v", a.Name, a)
		}
		names[a.Name] = true
	}
}
