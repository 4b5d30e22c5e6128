package attack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// A Config says what a lab attacks. Builder is required.
type Config struct {
	// Builder has the installation whose machine image is attacked, and makes
	// that image when it is absent. Keys, resources and registry of the
	// installation are left alone.
	Builder wiring.Builder
	Guest   string // the machine: its recipe's folder, or a built machine image
	// Workload is the recipe's folder of what machines run: Redis, which reads
	// its password from a secret.
	Workload string
	Accel    machine.Accel
	// Watch is told of each attack when it is over; nil: nobody is.
	Watch func(Result)
}

// A Lab is where attacks are made: a folder of its own, and what attacks share
// in it, made when it is first needed.
type Lab struct {
	Config
	dir    string
	unlock func() error

	mu     sync.Mutex              // guards what follows
	shared map[string]func() error // makes a part, once
	parts  map[string]any
	undo   []func() error
}

// ErrBusy says that another lab is at work in the installation.
var ErrBusy = errors.New("other attacks are under way in this installation")

// NewLab takes the installation's folder for attacks, empty.
func NewLab(c Config) (*Lab, error) {
	i := c.Builder.Installation
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	unlock, err := atomicfile.Lock(ctx, i.Lock("attack"))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, err
	}
	l := &Lab{Config: c, dir: filepath.Join(i.Dir(), "attack"), unlock: unlock,
		shared: map[string]func() error{}, parts: map[string]any{}}
	if err := errors.Join(os.RemoveAll(l.dir), os.Mkdir(l.dir, 0o700)); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return l, nil
}

// Close undoes what was shared, the last part first, and removes the folder.
func (l *Lab) Close() (err error) {
	l.mu.Lock()
	undo := l.undo
	l.undo = nil
	l.mu.Unlock()
	for i := len(undo) - 1; i >= 0; i-- {
		err = errors.Join(err, undo[i]())
	}
	return errors.Join(err, os.RemoveAll(l.dir), l.unlock())
}

// Folder makes a folder for one attack. Its files go with the lab.
func (l *Lab) Folder(name string) (string, error) { return os.MkdirTemp(l.dir, name+"-") }

// Later has undo called when the lab is closed.
func (l *Lab) Later(undo func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undo = append(l.undo, undo)
}

// Shared makes what attacks of a lab share under a name, once: also when that
// failed. Others who want it meanwhile wait.
func Shared[T any](l *Lab, name string, make func() (T, error)) (T, error) {
	l.mu.Lock()
	once, ok := l.shared[name]
	if !ok {
		once = sync.OnceValue(func() error {
			part, err := make()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.parts[name] = part
			return err
		})
		l.shared[name] = once
	}
	l.mu.Unlock()
	err := once()
	l.mu.Lock()
	defer l.mu.Unlock()
	part, ok := l.parts[name].(T)
	if !ok && err == nil {
		err = fmt.Errorf("lab: %s is shared as two types", name)
	}
	return part, err
}
