package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fork runs the program of a forking service, which starts the processes that
// stay and ends (systemd.service(5), Type=).
func (r *run) fork(ctx context.Context) outcome {
	whole, ok := r.group.(*cgroup)
	if !ok {
		return outcome{result: resultResources, reason: "what it forks is not known without control groups", never: true}
	}
	o := r.starter(ctx, r.u.Start[0])
	if !o.ok() || ctx.Err() != nil {
		return o
	}
	if len(r.u.StartPost) > 0 {
		r.search(whole) // the file may be one of those commands'
		return outcome{}
	}
	return r.found(ctx)
}

// starter is a command whose exit counts as that of the service.
func (r *run) starter(ctx context.Context, c Command) outcome {
	o := r.command(ctx, c, r.u.StartTimeout)
	if !o.ok() && o.exit != nil && r.u.SuccessOn.has(*o.exit) {
		return outcome{exit: o.exit}
	}
	return o
}

// found waits for the file of a forking service to name its main process;
// without one it may have none.
func (r *run) found(ctx context.Context) outcome {
	whole, ok := r.group.(*cgroup)
	if !ok || r.u.Kind != Forking {
		return outcome{}
	}
	limit, cancel := within(ctx, r.u.StartTimeout)
	defer cancel()
	for pause := time.Millisecond; !r.search(whole) && r.u.PIDFile != ""; pause = min(2*pause, 50*time.Millisecond) {
		if r.group.empty() {
			return outcome{result: resultProtocol, reason: "it ended before " + r.u.PIDFile + " named a process of its own"}
		}
		sleep(limit, pause)
		if errors.Is(limit.Err(), context.DeadlineExceeded) {
			return outcome{result: resultTimeout, reason: fmt.Sprintf("%s named no process of its own within %v", r.u.PIDFile, r.u.StartTimeout)}
		}
		if ctx.Err() != nil {
			return outcome{}
		}
	}
	return outcome{}
}

// search looks for the main process, in the file, or as the only one that was
// left to process 1 (systemd.service(5), GuessMainPID=).
func (r *run) search(whole *cgroup) bool {
	switch {
	case r.death != nil:
	case r.u.PIDFile != "":
		r.follow(pidIn(r.u.PIDFile))
	case !r.u.NoGuess:
		r.follow(whole.orphan())
	}
	return r.death != nil
}

// pidIn is what a file names, "" when it cannot be a process. What the service
// made of the file is looked at without waiting or reading on: a pipe would
// hold this process up, a device or a long file fill it.
func pidIn(file string) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "" // it may not be there yet
	}
	defer unix.Close(fd)
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil || info.Mode&unix.S_IFMT != unix.S_IFREG {
		return ""
	}
	raw := make([]byte, maxPIDFile+1)
	n, err := unix.Read(fd, raw)
	if err != nil || n > maxPIDFile {
		return ""
	}
	return strings.TrimSpace(string(raw[:n]))
}

// maxPIDFile bounds a file that names a process.
const maxPIDFile = 64

// orphan is the only process whose parent is this one, "" when there are more.
func (c *cgroup) orphan() (pid string) {
	for _, member := range c.members() {
		if parent(member) != os.Getpid() {
			continue
		}
		if pid != "" {
			return ""
		}
		pid = strconv.Itoa(member)
	}
	return pid
}

// parent is 0 for a process that is gone.
func parent(pid int) int {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])) // its name may have any byte
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1]) // the kernel writes numbers
	return n
}
