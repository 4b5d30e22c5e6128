package attack

import (
	"fmt"
	"strings"
	"testing"
)

// twenty are ten attacks without a machine and ten with one.
func twenty() (list []Attack) {
	for i := range 10 {
		list = append(list, Attack{Name: fmt.Sprint("quick", i), Group: "secret"}, Attack{Name: fmt.Sprint("slow", i), Group: "boot", Boots: true})
	}
	return list
}

func names(t *testing.T, c Choice) string {
	t.Helper()
	chosen, err := c.Choose(twenty())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, a := range chosen {
		list = append(list, a.Name)
	}
	return strings.Join(list, " ")
}

func TestAChoiceIsByNameGroupAndMachine(t *testing.T) {
	for _, c := range []struct {
		Choice
		want string
	}{
		{Choice{Names: []string{"slow3", "quick1"}}, "quick1 slow3"},
		{Choice{Names: []string{"secret"}, Sample: 1}, "quick0 quick1 quick2 quick3 quick4 quick5 quick6 quick7 quick8 quick9"},
		{Choice{Names: []string{"boot", "quick2"}, NoBoot: true}, "quick2"},
	} {
		if got := names(t, c.Choice); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.Choice, got, c.want)
		}
	}
	if none, err := (Choice{Names: []string{"boot"}, NoBoot: true}).Choose(twenty()); err == nil {
		t.Errorf("got %v, want an error: no attack is held where none is made", none)
	}
	if got := strings.Fields(names(t, Choice{})); len(got) != 20 {
		t.Errorf("got %d attacks, want all", len(got))
	}
}

func TestASampleIsTheSameForTheSameSeed(t *testing.T) {
	first := names(t, Choice{Sample: 3, Seed: 1})
	if n := strings.Count(first, "slow"); n != 3 || strings.Count(first, "quick") != 10 {
		t.Errorf("got %s, want 3 slow ones and all others", first)
	}
	if again := names(t, Choice{Sample: 3, Seed: 1}); again != first {
		t.Errorf("got %s and %s by one seed", first, again)
	}
	others := 0
	for seed := range uint64(10) {
		if names(t, Choice{Sample: 3, Seed: seed}) != first {
			others++
		}
	}
	if others < 5 {
		t.Errorf("%d of 10 seeds pick other attacks", others)
	}
	if got := names(t, Choice{Sample: 100}); got != names(t, Choice{}) {
		t.Errorf("a sample larger than all: got %s", got)
	}
}

func TestUnknownNamesGetAHint(t *testing.T) {
	for name, want := range map[string]string{"slow33": "did you mean slow3", "secrets": "did you mean secret?", "x\x1b": `called "x\x1b"`} {
		_, err := Choice{Names: []string{name}}.Choose(twenty())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}
