package container

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/supervise"
)

// logs is where each service's output goes.
const logs = "/var/log/holdfast"

// How long a service that ended is let be before it starts again, and how
// services are asked to end before they are killed.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 10 * time.Second
	steady     = 30 * time.Second // that ran so long starts with the first pause again
	grace      = 8 * time.Second
	maxLog     = 32 << 20
)

// runServices keeps the machine's services until it is told to end.
func runServices(answer *os.File) error {
	raw, err := os.ReadFile(keptIn)
	if err != nil {
		return err
	}
	var m api.ContainerMachine
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	life, end := context.WithCancel(context.Background())
	reaper := supervise.NewReaper()
	var background, services sync.WaitGroup
	background.Go(func() { reaper.Run(life) })
	for _, r := range m.Relays {
		if err := relay(ctx, &background, r); err != nil {
			end()
			return fmt.Errorf("relay of port %d: %w", r.Port, err)
		}
	}
	for _, s := range m.Services {
		services.Go(func() { keeper{s, reaper}.keep(ctx) })
	}
	_ = answer.Close()
	services.Wait()
	end()
	background.Wait()
	return nil
}

// A keeper keeps one service running.
type keeper struct {
	api.Service
	processes *supervise.Reaper
}

func (k keeper) keep(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		for _, address := range k.Needs {
			awaitAddress(ctx, address)
		}
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		ok := k.once(ctx)
		if ok && k.Once {
			return
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// once runs the program to its end, and says whether that was a good one.
func (k keeper) once(ctx context.Context) bool {
	out, err := k.log()
	if err != nil {
		fmt.Fprintf(os.Stderr, "holdfast-node: service %s: %v\n", k.Name, err)
		return false
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return false
	}
	defer null.Close()
	fmt.Fprintf(out, "holdfast-node: %s starts at %s\n", k.Name, time.Now().UTC().Format(time.RFC3339Nano))
	pid, end, err := k.processes.Start(k.Argv, &os.ProcAttr{
		Dir: "/", Env: append(os.Environ(), k.Env...), Files: []*os.File{null, out, out}})
	if err != nil {
		fmt.Fprintf(out, "holdfast-node: %s: %v\n", k.Name, err)
		return false
	}
	var status unix.WaitStatus
	select {
	case status = <-end:
	case <-ctx.Done():
		status = endOf(pid, end)
	}
	fmt.Fprintf(out, "holdfast-node: %s ended: exit code %d, signal %d\n", k.Name, status.ExitStatus(), status.Signal())
	return status.Exited() && status.ExitStatus() == 0
}

func endOf(pid int, end <-chan unix.WaitStatus) unix.WaitStatus {
	_ = unix.Kill(pid, unix.SIGTERM)
	select {
	case status := <-end:
		return status
	case <-time.After(grace):
		_ = unix.Kill(pid, unix.SIGKILL)
		return <-end
	}
}

// log opens the service's log, which begins anew when it has grown large.
func (k keeper) log() (*os.File, error) {
	path := filepath.Join(logs, k.Name+".log")
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
}

// awaitAddress returns when somebody listens at address, or ctx ends.
func awaitAddress(ctx context.Context, address string) {
	network, where, _ := strings.Cut(address, ":")
	var d net.Dialer
	for ctx.Err() == nil {
		c, err := d.DialContext(ctx, network, where)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(25 * time.Millisecond):
		}
	}
}
