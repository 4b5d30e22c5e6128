package supervise

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// A Reaper starts every process of the machine and buries every one that ends:
// children of ours, and orphans that the kernel hands to process 1.
//
// The two would race if another part waited for a child by itself: nothing in
// this program uses os/exec or os.Process.Wait.
type Reaper struct {
	mu      sync.Mutex // held while starting, so that no child ends unknown
	waiting map[int]chan unix.WaitStatus
	ended   map[int]unix.WaitStatus // that nobody has asked for yet
}

// maxEnded bounds what is remembered of orphans.
const maxEnded = 256

// NewReaper returns a reaper that buries once Run is called.
func NewReaper() *Reaper {
	return &Reaper{waiting: map[int]chan unix.WaitStatus{}, ended: map[int]unix.WaitStatus{}}
}

// Start starts a program and returns its process id and where its end will be
// told.
func (r *Reaper) Start(argv []string, attr *os.ProcAttr) (pid int, end <-chan unix.WaitStatus, err error) {
	return r.StartAs(argv[0], argv, attr)
}

// StartAs starts a program under another name than its path.
func (r *Reaper) StartAs(path string, argv []string, attr *os.ProcAttr) (pid int, end <-chan unix.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	pid = p.Pid
	_ = p.Release()
	delete(r.ended, pid) // of an older process
	return pid, r.watch(pid), nil
}

// Adopt tells the end of a process that a child has left to process 1, even
// when it has ended already.
func (r *Reaper) Adopt(pid int) (<-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.ended[pid]; !ok {
		if err := unix.Kill(pid, 0); err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return r.watch(pid), nil
}

// watch is called with mu held.
func (r *Reaper) watch(pid int) <-chan unix.WaitStatus {
	c := make(chan unix.WaitStatus, 1)
	if status, ok := r.ended[pid]; ok {
		delete(r.ended, pid)
		c <- status
		return c
	}
	r.waiting[pid] = c
	return c
}

// Run buries until ctx ends.
func (r *Reaper) Run(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	for {
		r.bury()
		select {
		case <-ctx.Done():
			return
		case <-children:
		}
	}
}

func (r *Reaper) bury() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- status
			continue
		}
		if len(r.ended) >= maxEnded {
			clear(r.ended)
		}
		r.ended[pid] = status
	}
}
