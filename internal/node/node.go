// Package node is the life of process 1: from the kernel's first instruction
// to the end of the one workload that the measured configuration names.
//
// Every stage either completes or ends the machine with a reason; nothing of
// the configuration is used before it was measured, and nothing of the disk
// before its hash was checked.
package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/supervise"
)

// A Config holds what a machine is made of.
type Config struct {
	Console  io.Writer // nil: standard error, which is the kernel's console
	Measurer Measurer
	// Prepare does ahead what takes long and needs neither network nor
	// configuration: making keys in the TPM.
	Prepare func(ctx context.Context) error
	// Identify gets the certificate of the configuration's identity, once the root
	// is there. An image without it takes no such configuration. An error says
	// itself at which stage it was refused, as a Workload's.
	Identify func(ctx context.Context, i Identification) (text string, err error)
	// Provision applies the Ignition config of the configuration, once the root
	// is there. An image without it takes no such configuration.
	Provision func(ctx context.Context, p Provision) (text string, err error)
	// Workload is what the machine is for. An error that has a method
	// Refused() api.RefusedDetail says itself at which stage it was refused.
	Workload func(ctx context.Context, j Job) (api.ExitDetail, error)
}

// A Job is what the workload is given.
type Job struct {
	Config    api.GuestConfig
	Document  []byte // the measured configuration, as the host handed it over
	Stage     func(name, text, digest string)
	Started   func() // to be called when the workload runs
	Processes *supervise.Reaper
	Stdio     [3]*os.File
	Signals   <-chan unix.Signal // for the workload, from the host
	Stop      <-chan struct{}    // closed when the host asks for the end
	// Grace is how long the host then gives it; 0: it did not say.
	Grace    func() time.Duration
	Resolver string // path of what DHCP said of name servers
	Link     Link
	Pod      PodHost
}

// machine is what the stages find out and share.
type machine struct {
	Config
	*reporter
	processes  *supervise.Reaper
	background sync.WaitGroup
	configuration
	link Link
	disk string   // name of the one that carries the root
	ends []func() // of what goes on beside the workload
}

// patience is how long the host may take to read the last words.
const patience = 3 * time.Second

// Run lives the machine's life and turns it off.
func Run(ctx context.Context, c Config) {
	if c.Console == nil {
		c.Console = os.Stderr
	}
	r := &reporter{console: c.Console, control: newControl()}
	r.control.record = func(reason string) { r.line("control: refused: %s", reason) }
	exit, err := live(ctx, c, r)
	r.end(func() {
		if err != nil {
			r.refused(refusal(err))
			return
		}
		r.line("exited: code %d", exit.Code)
		r.control.send(api.EventExited, exit)
	})
}

// end says the last words and turns the machine off, also when the host does not
// listen. Who comes second waits for that.
func (r *reporter) end(say func()) {
	r.over.Do(func() {
		time.AfterFunc(2*patience, powerOff)
		say()
		r.control.finish(patience)
		powerOff()
	})
}

// powerOff gives the hypervisor a moment to carry what the ports hold.
func powerOff() {
	time.Sleep(20 * time.Millisecond)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// live runs the stages and then the workload.
func live(ctx context.Context, c Config, r *reporter) (exit api.ExitDetail, err error) {
	ctx, cancel := context.WithCancel(ctx)
	m := &machine{Config: c, reporter: r, processes: supervise.NewReaper()}
	defer m.background.Wait()
	defer cancel()
	defer m.endAll()
	err = safely(func() error {
		if err := m.begin(); err != nil {
			return err
		}
		m.background.Go(func() { m.processes.Run(ctx) })
		if err := m.prepare(ctx); err != nil {
			return err
		}
		exit, err = m.work(ctx)
		return err
	})
	return exit, err
}

func (m *machine) atEnd(end func()) { m.ends = append(m.ends, end) }

// endAll ends what goes on beside the workload, the latest first.
func (m *machine) endAll() {
	for _, end := range slices.Backward(m.ends) {
		end()
	}
}

// safely turns a panic into an error: process 1 must end the machine in order.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
