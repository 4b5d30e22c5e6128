package machine

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/ignition/units"
	"holdfast/internal/supervise"
)

// Units are the unit files of a machine, run below its process 1.
type Units struct {
	Processes supervise.Processes
	Sink      func(service, line string)
	Log       *slog.Logger
	FirstBoot bool
}

// Start reads the units of this machine's root and starts what its default
// target pulls in. When one of them is outside the subset none is started. The
// supervisor ends with ctx; done is closed when nothing of it is left.
func (u Units) Start(ctx context.Context) (s *supervise.Supervisor, done <-chan struct{}, err error) {
	set, err := units.Load("/", u.host())
	if err != nil {
		return nil, nil, err
	}
	s, err = supervise.New(supervise.Config{
		Services: set.Services(), Processes: u.Processes, Sink: u.Sink, Log: u.Log,
		Cgroup: supervise.FindCgroup("system.slice"), Launcher: []string{"/proc/self/exe", "launch"}, Env: os.LookupEnv,
	})
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx, set.Goal) }() // the goal is one of the services
	return s, ended, nil
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
