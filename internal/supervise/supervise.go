package supervise

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Processes starts programs and tells their ends: a Reaper in process 1.
type Processes interface {
	StartAs(path string, argv []string, attr *os.ProcAttr) (pid int, end <-chan unix.WaitStatus, err error)
	Adopt(pid int) (<-chan unix.WaitStatus, error)
}

// A Config says what is supervised, and with what.
type Config struct {
	Services  []Service
	Processes Processes
	// Sink gets each line that a service writes, without its end. Nil: lines
	// are dropped.
	Sink func(service, line string)
	Log  *slog.Logger // nil: none
	// Dir is where sockets are made by which services tell how they are; ""
	// for /run/holdfast/services.
	Dir string
	// Cgroup is a folder of a cgroup hierarchy, version 1 or 2, in which each
	// service gets its own. "": processes are known by their sessions only.
	Cgroup string
	// Launcher are the words of a program that calls Launch. Without it services
	// that set limits, a mask, a priority or privileges are refused.
	Launcher []string
	// Env is process 1's own environment, for services that ask for some of it.
	Env func(name string) (string, bool)
}

// A Supervisor runs services.
type Supervisor struct {
	Config
	lives sync.WaitGroup

	mu      sync.Mutex // guards the fields below, and those that unit says
	changed chan struct{}
	ending  bool
	units   map[string]*unit
}

// A unit is a service and its life.
type unit struct {
	Service
	index int
	after []string // also by the Before of others
	// Under mu:
	status Status
	starts []time.Time
	live   bool
	begun  time.Time // when it became active last, for timers
	ended  time.Time // when it was active last
	stop   context.CancelFunc
	ending bool          // it was asked to stop
	reload chan struct{} // it is to reload
	again  bool          // it is to be started again when it has stopped
}

// New refuses a list in which a name is twice, or an order without an end.
func New(c Config) (*Supervisor, error) {
	if c.Sink == nil {
		c.Sink = func(string, string) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Env == nil {
		c.Env = func(string) (string, bool) { return "", false }
	}
	c.Dir = cmp.Or(c.Dir, "/run/holdfast/services")
	s := &Supervisor{Config: c, changed: make(chan struct{}), units: map[string]*unit{}}
	for i, service := range c.Services {
		if s.units[service.Name] != nil {
			return nil, fmt.Errorf("service %s is there twice", service.Name)
		}
		if service.Process.needsLauncher() && len(c.Launcher) == 0 {
			return nil, fmt.Errorf("service %s: nothing can set its limits", service.Name)
		}
		service.defaults()
		s.units[service.Name] = &unit{Service: service, index: i, after: slices.Clone(service.After), reload: make(chan struct{}, 1),
			status: Status{Name: service.Name, Description: service.Description, State: Inactive}}
	}
	for _, service := range c.Services {
		for _, later := range service.Before {
			if u := s.units[later]; u != nil {
				u.after = append(u.after, service.Name)
			}
		}
	}
	return s, s.acyclic()
}

// A CycleError is an order in which each comes behind the one before it, and the
// first behind the last.
type CycleError struct{ Names []string }

func (e *CycleError) Error() string {
	text := "the order has a cycle: " + e.Names[0]
	for _, name := range e.Names[1:] {
		text += " before " + name
	}
	return text + " before " + e.Names[0]
}

func (s *Supervisor) acyclic() error {
	names := make([]string, 0, len(s.Services))
	behind := map[string][]string{}
	for _, service := range s.Services {
		names, behind[service.Name] = append(names, service.Name), s.units[service.Name].after
	}
	return FindCycle(names, behind)
}

// FindCycle is a *CycleError for an order that has one; behind are the names
// that each comes after.
func FindCycle(names []string, behind map[string][]string) error {
	const open, done = 1, 2
	marks, path := map[string]int{}, []string{}
	var visit func(string) error
	visit = func(name string) error {
		switch marks[name] {
		case done:
			return nil
		case open:
			cycle := slices.Clone(path[slices.Index(path, name):])
			slices.Reverse(cycle)
			return &CycleError{cycle}
		}
		marks[name], path = open, append(path, name)
		for _, earlier := range behind[name] {
			if err := visit(earlier); err != nil {
				return err
			}
		}
		marks[name], path = done, path[:len(path)-1]
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return err
		}
	}
	return nil
}

// Run starts the goals and all that they pull in, and supervises until ctx
// ends. Then it stops all in reverse order.
func (s *Supervisor) Run(ctx context.Context, goals ...string) error {
	s.sweepAll()
	for _, goal := range goals {
		if err := s.Start(goal); err != nil {
			return err
		}
	}
	<-ctx.Done()
	s.mu.Lock()
	s.ending = true
	for _, u := range s.units {
		s.cancel(u)
	}
	s.mu.Unlock()
	s.lives.Wait()
	return nil
}

// Start starts a service and what it pulls in; it does not wait.
func (s *Supervisor) Start(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.units[name] == nil {
		return fmt.Errorf("service %s: unknown", name)
	}
	if s.ending {
		return fmt.Errorf("service %s: everything is being stopped", name)
	}
	s.start(name)
	return nil
}

// start is called with mu held. All are marked before any of them may look at
// the others.
func (s *Supervisor) start(name string) {
	u := s.units[name]
	if u == nil || u.live {
		if u != nil && u.ending {
			u.again = true
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	u.live, u.ending, u.stop = true, false, cancel
	s.note(u, Waiting)
	for _, list := range [][]string{u.Requires, u.BindsTo, u.Wants} {
		for _, pulled := range list {
			s.start(pulled)
		}
	}
	s.lives.Go(func() { s.life(ctx, u) })
}

// Reload tells a service that is up to read its configuration again, by its
// Reload commands; one that has none is restarted. One that is not up is left
// alone. It does not wait.
func (s *Supervisor) Reload(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.units[name]
	if u == nil {
		return fmt.Errorf("service %s: unknown", name)
	}
	if s.up(u) && len(u.Service.Reload) == 0 {
		s.cancelWith(u, true)
		return nil
	}
	s.reload(u, map[*unit]bool{})
	return nil
}

// up is called with mu held.
func (s *Supervisor) up(u *unit) bool { return !s.ending && u.live && !u.ending }

// reload is called with mu held. It also tells those that ask for it
// (systemd.unit(5), ReloadPropagatedFrom=), each once, unless they have no commands.
func (s *Supervisor) reload(u *unit, told map[*unit]bool) {
	if !s.up(u) || len(u.Service.Reload) == 0 || told[u] {
		return
	}
	told[u] = true
	select {
	case u.reload <- struct{}{}:
	default:
		return // it is told already, and has not begun to
	}
	for _, other := range s.units {
		if slices.Contains(other.ReloadFrom, u.Name) {
			s.reload(other, told)
		}
	}
}

// cancelWith is called with mu held.
func (s *Supervisor) cancelWith(u *unit, again bool) {
	if !u.live || u.ending {
		u.again = u.again || again
		return
	}
	u.again = again
	s.cancel(u)
	for _, other := range s.units {
		with := slices.Contains(other.Requires, u.Name) || slices.Contains(other.BindsTo, u.Name) || slices.Contains(other.Requisite, u.Name) || slices.Contains(other.PartOf, u.Name)
		if with {
			s.cancelWith(other, again)
		}
	}
}

func (s *Supervisor) cancel(u *unit) {
	if u.live {
		u.ending = true
		u.stop()
	}
}

func underway(state string) bool {
	return state == Waiting || state == Activating || state == Restarting
}

// await waits until something holds, which is asked with mu held.
func (s *Supervisor) await(ctx context.Context, holds func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// note is called with mu held; "" is the state that it has.
func (s *Supervisor) note(u *unit, state string) {
	if state != "" && u.status.State != state {
		u.status.State, u.status.Since = state, time.Now()
		if state == Activating {
			u.begun = u.status.Since
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// change changes a status.
func (s *Supervisor) change(u *unit, state string, f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f != nil {
		f(&u.status)
	}
	s.note(u, state)
}
