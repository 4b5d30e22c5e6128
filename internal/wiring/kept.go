package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/swtpm"
)

// takeKept takes the folder of a machine that is kept, for this run alone. At
// the end the firmware's variables go back to it.
func (s *session) takeKept() (letGo func() error, err error) {
	if s.Kept == "" {
		return func() error { return nil }, nil
	}
	if s.Kept, err = filepath.Abs(s.Kept); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Kept, 0o700); err != nil {
		return nil, fmt.Errorf("machine: %w", err)
	}
	unlock, err := lockNow(s.Kept + "/run")
	if errors.Is(err, ErrBusy) {
		return nil, fmt.Errorf("machine %s: another run has it: %w", s.Kept, err)
	}
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", s.Kept, err)
	}
	return func() error { return errors.Join(s.keepVariables(), unlock()) }, nil
}

func (s *session) tpmDir() string {
	if s.Kept == "" {
		return s.path("tpm")
	}
	return filepath.Join(s.Kept, "tpm")
}

// manufacture makes the machine's TPM, unless it is kept and has one. A TPM is
// whole when its mark is there: one that was cut off is made anew.
func (s *session) manufacture(ctx context.Context) error {
	conf := swtpm.Config{Dir: s.tpmDir(), CADir: s.Installation.TPMAuthority()}
	if s.Kept == "" {
		return swtpm.Manufacture(ctx, conf)
	}
	whole := conf.Dir + ".made"
	if _, err := os.Stat(whole); err == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(conf.Dir), swtpm.Manufacture(ctx, conf)); err != nil {
		return err
	}
	return atomicfile.WriteFile(whole, nil, 0o600)
}

// listening is where a run's services are. The machine's configuration names
// them, and is to be the same the next time.
type listening struct {
	Registry string `json:"registry"`
	Broker   string `json:"broker"`
}

// anyPort is a free one, on an address of this host only.
const anyPort = "127.0.0.1:0"

// Of these no kernel gives one to who asks for any, unless it was told otherwise
// (Linux begins at 32768), and no Kubernetes gives one to a Service (from 30000).
const firstSteady, steadyPorts = 20000, 10000

// steadyPort is one that is free, and will be when the machine starts again.
func steadyPort() string {
	for range steadyPorts {
		address := fmt.Sprintf("127.0.0.1:%d", firstSteady+rand.IntN(steadyPorts))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	return anyPort
}

// listen gives where the services are to be, and whether a machine that was
// kept knows them there.
func (s *session) listen() (at listening, kept bool) {
	at = listening{s.registryAddress(), anyPort}
	if s.Kept == "" {
		return at, false
	}
	raw, err := input.ReadFile(s.keptListen(), input.Document)
	var last listening
	if err != nil || json.Unmarshal(raw, &last) != nil || last.Registry == "" || last.Broker == "" {
		at.Broker = steadyPort() // the first time
		return at, false
	}
	return last, true
}

func (s *session) keepListen() error {
	if s.Kept == "" {
		return nil
	}
	port := func(n uint16) string { return fmt.Sprintf("127.0.0.1:%d", n) }
	raw, err := json.Marshal(listening{port(s.services.registry.port), port(s.services.broker.port)})
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(s.keptListen(), raw, 0o600)
}

func (s *session) keptListen() string { return filepath.Join(s.Kept, "services.json") }

func (s *session) keptVariables() string { return filepath.Join(s.Kept, qemu.VarsFile) }

// useVariables gives a machine that is kept the firmware's variables that it
// left: its firmware then starts sooner.
func (s *session) useVariables() {
	if s.Kept == "" {
		return
	}
	if _, err := os.Stat(s.keptVariables()); err == nil {
		s.firmware.Vars = s.keptVariables()
	}
}

func (s *session) keepVariables() error {
	vars, err := input.ReadFile(filepath.Join(s.path("machine"), qemu.VarsFile), input.Firmware)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never started
	}
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(s.keptVariables(), vars, 0o600)
}
