package container

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
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
	steps      = 6
	grace      = 8 * time.Second
	maxLog     = 32 << 20
)

// superviseAll keeps the machine's services until it is told to end.
func superviseAll(answer *os.File) error {
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
	var background sync.WaitGroup
	defer background.Wait()
	defer end()
	background.Go(func() { reaper.Run(life) })
	var names []string
	services := make([]supervise.Service, 0, len(m.Services))
	for _, s := range m.Services {
		if err := trimLog(s.Name); err != nil {
			return err
		}
		names, services = append(names, s.Name), append(services, serviceOf(s))
	}
	for _, r := range m.Relays {
		if err := relay(life, &background, r); err != nil {
			return fmt.Errorf("relay of port %d: %w", r.Port, err)
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	all, err := supervise.New(supervise.Config{Services: services, Processes: reaper, Log: log})
	if err != nil {
		return err
	}
	background.Go(func() { settle(life, usageOf(m), log) })
	_ = answer.Close()
	return all.Run(ctx, names...)
}

// serviceOf is s as the supervisor has it.
func serviceOf(s api.Service) supervise.Service {
	out := supervise.Service{
		Name: s.Name, Kind: supervise.Simple, After: s.After,
		Start: []supervise.Command{{Path: s.Argv[0], Args: s.Argv, Verbatim: true}},
		Process: supervise.Process{
			Env:    append([]string{"PATH=" + searched, "HOME=/root"}, s.Env...),
			Stdout: supervise.Output{Kind: supervise.ToAppend, Path: logOf(s.Name)},
		},
		Restart: "always", RestartDelay: firstPause, RestartSteps: steps, MaxDelay: lastPause, StopTimeout: grace,
	}
	if s.Notify {
		out.Kind = supervise.Notify
	}
	if s.Once {
		out.Kind, out.Restart, out.RemainAfter = supervise.Oneshot, "on-failure", true
	}
	if s.KeepChildren {
		out.Kill.Mode = "process"
	}
	return out
}

func logOf(service string) string { return filepath.Join(logs, service+".log") }

// trimLog puts a log away that has grown large.
func trimLog(service string) error {
	path := logOf(service)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		return os.Rename(path, path+".1")
	}
	return nil
}
