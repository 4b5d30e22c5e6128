package state_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/state"
	"holdfast/internal/seal/sealtest"
)

// These make this test binary another process, which is killed or confined.
const (
	writeEnv  = "STATE_TEST_WRITE_TO"
	importEnv = "STATE_TEST_IMPORT"
	limitEnv  = "STATE_TEST_LIMIT"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(limitEnv) != "":
		exit(fillUp(os.Getenv(limitEnv)))
	case os.Getenv(writeEnv) != "":
		exit(writeForEver(os.Getenv(writeEnv)))
	case os.Getenv(importEnv) != "":
		s, err := state.Open(context.Background(), state.Config{Dir: os.Getenv(importEnv), Sealer: sealtest.New()})
		if err == nil {
			err = s.Close()
		}
		exit(err)
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeForEver changes all that can be changed, four at a time, and says what
// is done.
func writeForEver(dir string) error {
	ctx := context.Background()
	s, err := state.Open(ctx, state.Config{Dir: dir, Sealer: sealtest.New()})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("a/%d/%d-%d", os.Getpid(), w, i)
				err := errors.Join(
					s.SetResource(ctx, name, bytes.Repeat([]byte("x"), 10<<10), true),
					s.KeepProof(ctx, name, []byte(name), 1<<20, &api.RecordedDecision{Session: name, Input: []byte("{}"), Data: []byte("{}")}))
				if _, e := s.SetDocument(ctx, api.Version{Kind: api.ConfigurationKind, Name: name, Content: []byte(name)}); e != nil || err != nil {
					failed <- errors.Join(err, e)
				}
				fmt.Println(name)
			}
		}()
	}
	return <-failed
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writeEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		lines, kill := bufio.NewScanner(out), time.After(time.Hour)
		for lines.Scan() {
			if acknowledged = append(acknowledged, lines.Text()); kill != nil {
				kill = nil
				time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // it was killed
		wantWhole(t, dir, acknowledged)
	}
	t.Logf("%d acknowledged", len(acknowledged))
}

// wantWhole wants what was acknowledged to be there, and all else to be whole.
func wantWhole(t *testing.T, dir string, acknowledged []string) {
	t.Helper()
	s, ctx := open(t, dir), t.Context()
	report, err := s.Check(ctx)
	if err != nil || len(report.Sealed) > 0 || report.Resources < len(acknowledged) {
		t.Fatalf("got %+v, %v after %d were acknowledged", report, err, len(acknowledged))
	}
	documents, generation, err := s.Documents(ctx, api.ConfigurationKind)
	if err != nil || int64(len(documents)) != generation || len(documents) < len(acknowledged) {
		t.Fatalf("got %d documents of generation %d, %v", len(documents), generation, err)
	}
	if report.Proofs != report.Decisions {
		t.Errorf("got %d proofs and %d decisions, want each proof with its own", report.Proofs, report.Decisions)
	}
	for _, name := range acknowledged {
		value, err := s.Resource(ctx, name)
		if err != nil || len(value) != 10<<10 {
			t.Fatalf("%s was acknowledged: got %d bytes, %v", name, len(value), err)
		}
		if _, err := s.Proof(ctx, name); err != nil {
			t.Fatalf("%s was acknowledged: proof: %v", name, err)
		}
	}
}

func TestAnImportThatIsKilledLosesNothing(t *testing.T) {
	const files = 300
	dir := t.TempDir()
	before(t, dir)
	for i := range files {
		path := filepath.Join(dir, "resources", "many", "key", fmt.Sprint(i))
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, []byte(fmt.Sprint("value ", i)), 0o600))
	}
	cmd := func(on string) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), importEnv+"="+on)
		return c
	}
	whole := filepath.Join(t.TempDir(), "whole")
	check(t, os.CopyFS(whole, os.DirFS(dir)))
	began := time.Now()
	if out, err := cmd(whole).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lasts := time.Since(began)
	for i := range 12 {
		again := filepath.Join(t.TempDir(), fmt.Sprint(i))
		check(t, os.CopyFS(again, os.DirFS(dir)))
		c := cmd(again)
		check(t, c.Start())
		time.Sleep(time.Duration(rand.Float64() * 1.1 * float64(lasts)))
		_ = c.Process.Kill()
		_ = c.Wait()
		s := open(t, again)
		names, err := s.Resources(t.Context())
		if err != nil || len(names) != files+1 {
			t.Fatalf("round %d: got %d resources, %v, want %d", i, len(names), err, files+1)
		}
		for n := range files {
			if value, err := s.Resource(t.Context(), fmt.Sprint("many/key/", n)); err != nil || string(value) != fmt.Sprint("value ", n) {
				t.Fatalf("round %d: %d: got %q, %v", i, n, value, err)
			}
		}
		for _, folder := range []string{"resources", state.BeforeFolder + "/resources"} {
			if _, err := os.Stat(filepath.Join(again, folder)); err == nil {
				t.Errorf("round %d: %s holds secrets in clear", i, folder)
			}
		}
	}
}

// fillUp writes until the disk, or what stands for it, is full, and judges what
// comes then.
func fillUp(dir string) error {
	ctx := context.Background()
	s, err := state.Open(ctx, state.Config{Dir: dir, Sealer: sealtest.New()})
	if err != nil {
		return err
	}
	if err := s.Once(ctx, "taken", time.Now().Add(time.Hour)); err != nil {
		return err
	}
	n := 0
	for ; err == nil && n < 10_000; n++ {
		err = s.SetResource(ctx, fmt.Sprintf("a/b/%d", n), bytes.Repeat([]byte("x"), 20<<10), true)
	}
	n-- // the one that failed
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("after %d: got %w, want that no space is left", n, err)
	}
	for i := range n {
		if value, err := s.Resource(ctx, fmt.Sprintf("a/b/%d", i)); err != nil || len(value) != 20<<10 {
			return fmt.Errorf("resource %d was acknowledged: got %d bytes, %w", i, len(value), err)
		}
	}
	names, err := s.Resources(ctx)
	if err != nil || len(names) != n {
		return fmt.Errorf("got %d resources, %w, want %d", len(names), err, n)
	}
	if _, err := s.Generations(ctx); err != nil {
		return err
	}
	if err := s.Once(ctx, "taken", time.Now().Add(time.Hour)); !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("an ID that was taken before: got %w", err)
	}
	fmt.Println(n)
	return s.Close()
}

func TestAFullDiskStopsWritersOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root: run it by sudo")
	}
	dir := t.TempDir()
	check(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"))
	defer func() { check(t, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), limitEnv+"="+filepath.Join(dir, "broker"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s resources were kept", bytes.TrimSpace(out))
	var n int
	_, err = fmt.Sscan(string(out), &n)
	check(t, err)
	check(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"))
	s, err := state.Open(t.Context(), state.Config{Dir: filepath.Join(dir, "broker"), Sealer: sealtest.New()})
	check(t, err)
	report, err := s.Check(t.Context())
	if err != nil || report.Resources != n {
		t.Errorf("got %+v, %v, want %d resources", report, err, n)
	}
	check(t, s.SetResource(t.Context(), "a/b/more", []byte("x"), true))
	check(t, s.Close())
}

func TestACopyUnderLoadIsOneMoment(t *testing.T) {
	s, ctx := open(t, t.TempDir()), t.Context()
	stop, done := make(chan bool), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			name := fmt.Sprintf("a/b/%06d", n)
			err := s.SetResource(ctx, name, []byte(name), true)
			if _, e := s.SetDocument(ctx, api.Version{Kind: api.ConfigurationKind, Name: name, Content: []byte(name)}); err != nil || e != nil {
				t.Error(err, e)
			}
		}
	}()
	for i := range 5 {
		time.Sleep(20 * time.Millisecond)
		dir := t.TempDir()
		check(t, s.Copy(ctx, filepath.Join(dir, state.File)))
		c := open(t, dir)
		names, err := c.Resources(ctx)
		check(t, err)
		documents, _, err := c.Documents(ctx, api.ConfigurationKind)
		if err != nil || len(documents) < len(names)-1 || len(documents) > len(names) {
			t.Errorf("copy %d: got %d resources and %d documents, %v, want a prefix of what was written", i, len(names), len(documents), err)
		}
		for n, name := range names {
			if value, err := c.Resource(ctx, name); err != nil || string(value) != fmt.Sprintf("a/b/%06d", n) {
				t.Fatalf("copy %d: resource %d: got %q, %v", i, n, value, err)
			}
		}
	}
	close(stop)
	t.Logf("%d written meanwhile", <-done)
}
