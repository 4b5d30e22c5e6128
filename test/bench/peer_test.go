package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/internal/wiring"
)

// root is the repository's, absolute: commands run in other folders.
var root = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

// samples are what one side took, in seconds.
type samples []float64

func (s samples) at(q float64) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func (s samples) median() float64 { return s.at(0.5) }

// ratio is the median of the ratios of the pairs: what slows the machine down
// slows both of a pair.
func (s samples) ratio(beside samples) float64 {
	var pairs samples
	for i := range s {
		pairs = append(pairs, s[i]/beside[i])
	}
	return pairs.median()
}

func timed(b *testing.B, f func()) float64 {
	b.Helper()
	began := time.Now()
	f()
	return time.Since(began).Seconds()
}

func state(b *testing.B) wiring.Installation {
	b.Helper()
	dir := os.Getenv("HOLDFAST_STATE")
	if dir == "" {
		dir = filepath.Join(root, ".holdfast")
	}
	i, err := wiring.Open(dir)
	check(b, err)
	return i
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func needs(b *testing.B, tools ...string) {
	b.Helper()
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			b.Skipf("needs %s (make bench installs it)", name)
		}
	}
}

// command runs a program to its end, quietly.
func command(b *testing.B, name string, args ...string) {
	b.Helper()
	cmd := exec.CommandContext(context.Background(), name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatal(fmt.Errorf("%s %q: %w: %s", name, args, err, out))
	}
}

// holdfast runs the program that make build made.
func holdfast(b *testing.B, args ...string) {
	b.Helper()
	command(b, filepath.Join(root, "bin", "holdfast"), append(args, "--quiet", "--state", state(b).Dir())...)
}
