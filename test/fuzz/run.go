package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// run gives each target that is below the bar a turn, the poorest first. A
// finding does not stop the others; it makes run fail at the end.
func (c *config) run(ctx context.Context, all []*Target) error {
	var failed []error
	for round := 0; c.rounds == 0 || round < c.rounds; round++ {
		targets, err := c.below(all)
		if err != nil || len(targets) == 0 {
			return errors.Join(append(failed, err)...)
		}
		if round > 0 { // the code may have changed
			if all, err = c.targets(); err != nil {
				return err
			}
		}
		built := map[string]string{} // binaries of this round, by package
		for _, t := range targets {
			if err := c.turnOf(ctx, t, built); err != nil {
				fmt.Fprintln(os.Stderr, "fuzz:", err)
				failed = append(failed, errors.New(t.Key()+" failed"))
			}
			if ctx.Err() != nil {
				return errors.Join(failed...)
			}
		}
	}
	return errors.Join(failed...)
}

func (c *config) below(all []*Target) ([]*Target, error) {
	record, err := c.load()
	if err != nil || c.plain {
		return all, err
	}
	list := slices.DeleteFunc(slices.Clone(all), func(t *Target) bool { return record.of(t).spent() >= c.bar })
	slices.SortStableFunc(list, func(a, b *Target) int { return cmp.Compare(record.of(a).CPUSeconds, record.of(b).CPUSeconds) })
	return list, nil
}

func (c *config) turnOf(ctx context.Context, t *Target, built map[string]string) error {
	binary := built[t.Dir]
	if binary == "" || !c.plain { // hours may have passed
		var err error
		if binary, err = c.build(ctx, t.Dir, !c.plain, ""); err != nil {
			return err
		}
		built[t.Dir] = binary
	}
	cache := c.cache(t)
	if c.plain {
		cache = c.state + "/plain"
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.fuzz=^"+t.Name+"$", "-test.parallel=1",
		"-test.fuzzcachedir="+cache, "-test.fuzztime="+c.turn, "-test.fuzzminimizetime=20x")
	cmd.Dir = filepath.Join(c.root, t.Dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "TMPDIR="+inMemory())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // ends like a turn that is over
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	s := read(out.String())
	spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	fmt.Printf("%-70s %8.1f s %10d executions %5d inputs\n", t.Key(), spent.Seconds(), s.executions, s.inputs)
	if err != nil && (ctx.Err() != nil || outOfTime(out.String())) {
		err = nil
	}
	if !c.plain {
		if err := c.account(t, s, spent, err != nil); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", t.Key(), err, out.String())
	}
	return nil
}

// inMemory is a folder for targets that unpack: on a disk they would spend
// their time waiting.
func inMemory() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return os.TempDir()
}

// outOfTime tells a turn whose end the engine itself mistook for a failure:
// https://go.dev/issue/75804.
func outOfTime(out string) bool {
	return strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input written")
}

func (c *config) account(t *Target, s summary, spent time.Duration, found bool) error {
	return c.update(t, func(a *Account) {
		a.CPUSeconds += spent.Seconds()
		a.Executions += s.executions
		a.Inputs = max(a.Inputs, s.inputs)
		if found {
			a.Findings++
		}
	})
}

func (c *config) cache(t *Target) string { return filepath.Join(c.state, "found", t.Dir) }

// build compiles the tests of a package and gives the binary's path.
func (c *config) build(ctx context.Context, dir string, guided bool, coverpkg string) (string, error) {
	kind, args := "plain", []string{"test", "-c", "-trimpath"}
	switch {
	case coverpkg != "":
		kind, args = "cover", append(args, "-cover", "-coverpkg="+coverpkg)
	case guided:
		kind, args = "guided", append(args, "-fuzz=.")
	}
	binary := filepath.Join(c.state, kind, strings.ReplaceAll(dir, "/", "-")+".test")
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", binary, "./"+dir)...)
	cmd.Dir = c.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the tests of %s: %w\n%s", dir, err, out)
	}
	return binary, nil
}

// A summary is what the last line of progress says.
type summary struct {
	executions int64
	inputs     int
}

var (
	executions = regexp.MustCompile(`execs: (\d+)`)
	total      = regexp.MustCompile(`\(total: (\d+)\)`)
)

func read(out string) summary {
	var s summary
	if m := executions.FindAllStringSubmatch(out, -1); m != nil {
		s.executions, _ = strconv.ParseInt(m[len(m)-1][1], 10, 64)
	}
	if m := total.FindAllStringSubmatch(out, -1); m != nil {
		s.inputs, _ = strconv.Atoi(m[len(m)-1][1])
	}
	return s
}
