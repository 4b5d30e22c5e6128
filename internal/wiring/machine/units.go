package machine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/ignition/tmpfiles"
	"holdfast/internal/ignition/units"
	"holdfast/internal/supervise"
)

// Units are the unit files and the tmpfiles.d of a machine, run below its
// process 1.
type Units struct {
	Processes supervise.Processes
	Sink      func(service, line string) // a line that a service wrote
	Log       *slog.Logger               // nil: none
	FirstBoot bool
}

// The times of Debian's systemd-tmpfiles-clean.timer.
const (
	firstClean = 15 * time.Minute
	nextClean  = 24 * time.Hour
)

// Start makes what tmpfiles.d says, and starts what the default target pulls in.
// When a line or a unit is outside the subset, nothing is done. The supervisor
// ends with ctx; done is closed when nothing of it is left.
func (u Units) Start(ctx context.Context) (s *supervise.Supervisor, done <-chan struct{}, err error) {
	u.Log = cmp.Or(u.Log, slog.New(slog.DiscardHandler))
	host := u.host()
	set, err := units.Load("/", host)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range set.Warnings {
		u.Log.Warn(w.Error())
	}
	s, err = supervise.New(supervise.Config{
		Services: set.Services(), Processes: u.Processes, Sink: u.Sink, Log: u.Log,
		Cgroup: supervise.FindCgroup("system.slice"), Launcher: []string{"/proc/self/exe", "launch"}, Env: os.LookupEnv,
	})
	if err != nil {
		return nil, nil, err
	}
	files, err := tmpfiles.Load(tmpfiles.Config{Root: "/", Log: u.Log,
		Host: tmpfiles.Host{Name: host.Name, MachineID: host.MachineID, BootID: host.BootID, Kernel: host.Kernel}})
	if err != nil {
		return nil, nil, err
	}
	if err := files.Apply(true); err != nil {
		u.Log.Error("tmpfiles.d: " + strings.ReplaceAll(err.Error(), "\n", "; ")) // services start all the same, as under systemd
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cleaned := make(chan struct{})
		go func() { defer close(cleaned); u.clean(ctx, files) }()
		err := s.Run(ctx, set.Goal)
		<-cleaned
		if err = errors.Join(err, files.Close()); err != nil {
			u.Log.Error(err.Error())
		}
	}()
	return s, ended, nil
}

// clean cleans up until ctx ends.
func (u Units) clean(ctx context.Context, files *tmpfiles.Set) {
	t := time.NewTimer(firstClean)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := files.Clean(); err != nil {
			u.Log.Warn("tmpfiles.d: " + strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		t.Reset(nextClean)
	}
}

func (u Units) host() units.Host {
	var kernel unix.Utsname
	_ = unix.Uname(&kernel) // has no error on Linux
	name, _ := os.Hostname()
	return units.Host{
		Name: name, Kernel: unix.ByteSliceToString(kernel.Release[:]), FirstBoot: u.FirstBoot,
		MachineID: line("/etc/machine-id"), BootID: strings.ReplaceAll(line("/proc/sys/kernel/random/boot_id"), "-", ""), CommandLine: line("/proc/cmdline"),
	}
}

func line(path string) string {
	raw, _ := os.ReadFile(path) // what is not there is empty
	return strings.TrimSpace(string(raw))
}
