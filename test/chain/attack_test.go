package chain

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"holdfast/internal/attack"
)

// sampled is how many of the attacks that boot machines are made where time is
// short. HOLDFAST_SOAK=1 makes all; HOLDFAST_SEED repeats a sample.
const sampled = 4

// The catalogue is the test: holdfast attack --list has what is tried.
func TestAttacksOnMachinesAreHeld(t *testing.T) {
	b := needs(t)
	choice := attack.Choice{Sample: sampled, Seed: seed(t)}
	if os.Getenv("HOLDFAST_SOAK") != "" {
		choice.Sample = 0
	}
	all, err := choice.Choose(booting(attack.All()))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d attacks; HOLDFAST_SEED=%d makes the same again", len(all), choice.Seed)
	lab, err := attack.NewLab(attack.Config{
		Builder: b.builder, Guest: b.guest.Dir, Workload: filepath.Join(root, "images", "redis"),
		Watch: func(r attack.Result) {
			t.Logf("%-28s %5.1f s  %s", r.Name, (time.Duration(r.Milliseconds) * time.Millisecond).Seconds(), attack.Short(r.Says()))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	report, err := lab.Run(context.Background(), all, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Verdict != attack.Held {
			t.Errorf("%s: %s: %s", r.Name, r.Verdict, r.Says())
		}
	}
}

func booting(all []attack.Attack) (list []attack.Attack) {
	for _, a := range all {
		if a.Boots {
			list = append(list, a)
		}
	}
	return list
}

func seed(t *testing.T) uint64 {
	t.Helper()
	given := os.Getenv("HOLDFAST_SEED")
	if given == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		t.Fatalf("HOLDFAST_SEED: %v", err)
	}
	return n
}
