// Package guest runs one confidential workload: it pulls the image that the
// measured configuration names, verifies, decrypts and unpacks it into memory,
// and runs it with runc.
//
// Nothing of an image runs before all of it was found genuine: layers are
// unpacked where only this package looks, and become the container's root
// when the last digest and MAC are good.
package guest

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/egress"
	"holdfast/internal/guest/hub"
)

// A Broker releases secrets to machines that prove themselves.
type Broker interface {
	// Attest proves the machine.
	Attest(ctx context.Context) error
	// Resource is the content of kbs:///REPOSITORY/TYPE/TAG.
	Resource(ctx context.Context, uri string) ([]byte, error)
	// Close forgets what the proof gained: nothing can be fetched afterwards.
	Close()
}

// Processes are started and buried by process 1 alone.
type Processes interface {
	// Start starts argv[0] and tells its end.
	Start(argv []string, attr *os.ProcAttr) (pid int, end <-chan unix.WaitStatus, err error)
	// Adopt tells the end of what a started process left behind.
	Adopt(pid int) (end <-chan unix.WaitStatus, err error)
}

// A Config is what a guest is given.
type Config struct {
	Guest     api.GuestConfig
	HTTP      *http.Client // for the registry; its transport trusts the pinned CA alone
	Broker    Broker       // nil: the image must not be encrypted, and there are no secrets
	Processes Processes
	Stdio     [3]*os.File                     // of the workload
	Signals   <-chan unix.Signal              // to be passed on to the workload
	Stop      <-chan struct{}                 // closed to end it
	Grace     func() time.Duration            // how long it may then take; nil or 0: 10 s
	Stage     func(name, text, digest string) // a stage was completed
	Started   func()                          // the workload runs
	Resolver  string                          // path of the resolv.conf to give it
	Egress    egress.Rules                    // what it may not speak to
	API       http.Handler                    // what answers it at api.GuestAPI; nil: nothing
	Dir       string                          // where its memory is mounted; empty: /run/holdfast
	Runtime   string                          // empty: /usr/sbin/runc
	Space     int64                           // bytes that a layer may unpack to; 0: what Dir's file system has
	Backoff   time.Duration                   // before a registry that broke off is asked again; 0: 1 s
}

// A Refusal is why a workload was not run.
type Refusal struct {
	Stage string // config, attest, pull, secrets or run
	Err   error
}

func (r *Refusal) Error() string { return r.Stage + ": " + r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Refused is what the host is told.
func (r *Refusal) Refused() api.RefusedDetail {
	return api.RefusedDetail{Stage: r.Stage, Reason: r.Err.Error()}
}

func refuse(stage string, err error) error {
	if err == nil {
		return nil
	}
	return &Refusal{stage, err}
}

// ErrStopped says that the host asked for the end before the workload ran.
var ErrStopped = errors.New("stopped by the host before the workload ran")

// Run runs the workload and returns how it ended. When it did not run, the
// error wraps a *Refusal.
func Run(ctx context.Context, c Config) (api.ExitDetail, error) {
	g, err := newGuest(c)
	if err != nil {
		return api.ExitDetail{}, &Refusal{"config", err}
	}
	bundle, err := g.prepareUnlessStopped(ctx)
	if g.Broker != nil {
		g.Broker.Close() // before a workload runs that could be after its token
	}
	if err != nil {
		return api.ExitDetail{}, err
	}
	if c.API != nil {
		stop, err := hub.Serve(api.GuestAPI, c.API)
		if err != nil {
			return api.ExitDetail{}, &Refusal{"run", err}
		}
		defer stop()
	}
	if err := g.fenceIn(); err != nil {
		return api.ExitDetail{}, &Refusal{"run", err}
	}
	w, err := g.start(bundle)
	if err != nil {
		return api.ExitDetail{}, &Refusal{"run", err}
	}
	c.Stage("run", "workload started", "")
	c.Started()
	return w.supervise(c), nil
}

// prepareUnlessStopped ends the preparation as soon as the host has no more
// use for it.
func (g *guest) prepareUnlessStopped(ctx context.Context) (*bundle, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-g.Stop:
			cancel(ErrStopped)
		case <-ctx.Done():
		}
	}()
	b, err := g.prepare(ctx)
	if err != nil && errors.Is(context.Cause(ctx), ErrStopped) {
		return nil, &Refusal{"stop", ErrStopped}
	}
	return b, err
}
