package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An Identity is one process, and never another one that later has its number.
type Identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot: field 22 of proc_pid_stat(5)
	Boot  string `json:"boot"`  // the kernel's boot_id: random(4)
}

const bootIDFile = "/proc/sys/kernel/random/boot_id"

func identify(pid int) (Identity, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return Identity{}, err
	}
	start, err := startTime(pid)
	return Identity{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, err
}

func startTime(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return parseStart(raw)
}

// parseStart reads field 22. The name in field 2 may hold anything, brackets too.
func parseStart(stat []byte) (uint64, error) {
	_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, errors.New("stat of a process: want 22 fields at least")
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// open gives a descriptor of the process, or nil when it is gone. What a pidfd
// names never changes, so the identity is compared after it was opened.
func (i Identity) open() (*os.File, error) {
	if i.PID <= 0 {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(i.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", i.PID, err)
	}
	f := os.NewFile(uintptr(fd), "process")
	now, err := identify(i.PID)
	if err == nil && now == i && !ended(f) {
		return f, nil
	}
	return nil, f.Close()
}

// ended says whether the process is gone, or waits to be buried.
func ended(f *os.File) bool { return await(f, 0) }

// await waits for a process's end: a pidfd is readable then (pidfd_open(2)).
func await(f *os.File, d time.Duration) bool {
	until := time.Now().Add(d)
	for {
		left := max(0, time.Until(until))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n == 1
		}
	}
}

// Alive says whether the machine runs.
func (i Identity) Alive() (bool, error) {
	f, err := i.open()
	if f == nil || err != nil {
		return false, err
	}
	return true, f.Close()
}

// Stop asks process 1 to end, and kills it when it takes longer than grace. With
// process 1 the kernel ends all processes of its namespace before it says so.
func (i Identity) Stop(grace time.Duration) error {
	f, err := i.open()
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	if grace > 0 {
		if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop process %d: %w", i.PID, err)
		}
	}
	if !await(f, grace) {
		if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", i.PID, err)
		}
		if !await(f, killTime) {
			return fmt.Errorf("process %d does not end %v after it was killed", i.PID, killTime)
		}
	}
	bury(i.PID)
	return nil
}

const killTime = 30 * time.Second

// bury takes the exit code of a child of ours, lest it stays a zombie. Others'
// children are their parents' part.
func bury(pid int) {
	for {
		_, err := unix.Wait4(pid, nil, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
