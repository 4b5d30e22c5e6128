package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reads is the word by which this program is one that reads a file when it is told to.
const reads = "HOLDFAST_TEST_READS"

func TestMain(m *testing.M) {
	if folder := os.Getenv(changes); folder != "" {
		if err := changeRoot(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if path := os.Getenv(reads); path != "" {
		_, _ = os.Stdin.Read(make([]byte, 1))
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) == 0 {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// group makes a control group of this host whose memory is counted, or skips.
func group(t *testing.T) usage {
	t.Helper()
	for version, top := range map[int]string{1: "/sys/fs/cgroup/memory", 2: "/sys/fs/cgroup"} {
		u := usage{memory: filepath.Join(top, "holdfast-test-"+strconv.Itoa(os.Getpid())), version: version}
		if os.Mkdir(u.memory, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = unix.Rmdir(u.memory) })
		_, err := u.pages()
		if _, absent := os.Stat(filepath.Join(u.memory, "memory.reclaim")); err == nil && (version == 1 || absent == nil) { // since Linux 5.19
			return u
		}
		check(t, unix.Rmdir(u.memory))
	}
	t.Skip("makes a control group of memory: run it as root on a host that has them")
	return usage{}
}

// readIn has a process of the group read a file.
func readIn(t *testing.T, u usage, path string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{reads + "=" + path}
	begin, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	check(t, os.WriteFile(filepath.Join(u.memory, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0))
	_, err = io.WriteString(begin, "x")
	check(t, errors.Join(err, begin.Close(), cmd.Wait()))
}

// The kernel takes as many pages as it is asked for, in a group that goes on as before.
func TestPagesOfFilesAreGivenBack(t *testing.T) {
	u := group(t)
	path := filepath.Join(t.TempDir(), "program")
	const size = 32 << 20
	check(t, os.WriteFile(path, make([]byte, size), 0o600))
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	check(t, errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)))
	readIn(t, u, path)
	before, err := u.pages()
	check(t, err)
	if before < size {
		t.Skipf("the file's %d bytes are %d of the group: its folder is of no disk", size, before)
	}
	check(t, u.giveBack(before/4*3))
	after, err := u.pages()
	check(t, err)
	if after > before/2 {
		t.Errorf("got %d bytes of %d left, want about a quarter", after, before)
	}
	readIn(t, u, path)
	if again, err := u.pages(); err != nil || again < size/4*3 { // the host may take some for itself
		t.Errorf("read once more: got %d bytes, %v, want nearly all: a limit was left", again, err)
	}
}

// Version 2 is asked as cgroup-v2.rst has it, each time that components have worked and
// rest, and not while they work.
func TestMemoryIsGivenBackAfterWork(t *testing.T) {
	u := usage{t.TempDir(), t.TempDir(), 2}
	asked := filepath.Join(u.memory, "memory.reclaim")
	swap := filepath.Join(u.memory, "memory.swap.max")
	check(t, os.WriteFile(swap, []byte("max"), 0o600))
	check(t, os.WriteFile(filepath.Join(u.memory, "memory.stat"), []byte("anon 5\nactive_file 300\ninactive_file 100\n"), 0o600))
	synctest.Test(t, func(t *testing.T) {
		var total time.Duration
		took := func(seconds int) {
			total += time.Duration(seconds) * time.Second
			check(t, os.WriteFile(filepath.Join(u.cpu, "cpu.stat"), fmt.Appendf(nil, "usage_usec %d\nuser_usec 1\n", total.Microseconds()), 0o600))
			time.Sleep(window)
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go settle(ctx, u, slog.New(slog.DiscardHandler))
		time.Sleep(time.Second) // look between its looks
		for i, step := range []struct {
			seconds int
			want    bool
		}{{15, false}, {6, false}, {1, true}, {1, false}, {6, false}, {1, false}, {11, false}, {2, true}} {
			_ = os.Remove(asked)
			took(step.seconds)
			got, err := os.ReadFile(asked)
			if step.want && string(got) != "300" || !step.want && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("step %d, %d seconds of a processor: got %q, %v, want it asked: %v", i, step.seconds, got, err, step.want)
			}
		}
		if raw, err := os.ReadFile(swap); err != nil || !strings.HasPrefix(string(raw), "0") {
			t.Errorf("memory.swap.max is %q, %v: what components wrote could go to a disk", raw, err)
		}
	})
}
