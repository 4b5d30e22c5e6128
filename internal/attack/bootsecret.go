package attack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/wiring"
)

func searchAttacks() []Attack {
	return []Attack{{
		Name: "secret-searched", Group: "secret", Boots: true,
		Promise: "a secret is nowhere on the host but sealed at its broker and in the machine's memory",
		Change:  "the host searches files, logs, console, command lines, environments, the disk and QEMU's memory for a secret, during the run and after it",
		Want:    Refusal{Guest, "and nowhere else"}, Control: searchControl, Run: searchSecret,
	}}
}

// searchControl plants a secret, and wants the search to find it everywhere.
var searchControl = Control{"the search finds a secret that was planted: in files, in three forms, in a name, on a command line, in an environment and in memory", func(ctx context.Context, l *Lab) error {
	dir, err := l.Folder("planted")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	secret := rand.Text()
	plants := map[string]string{
		"log":     "level=INFO msg=started password=" + secret + "\n",
		"hexdump": hex.EncodeToString([]byte("secret: " + secret)),
		"json":    base64.StdEncoding.EncodeToString([]byte("requirepass " + secret + "\n")),
		"core":    strings.Repeat("\x00", 1<<20-9) + secret, // over the edge of what is read at once
		secret:    "",
	}
	for name, text := range plants {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	// The sleeper has the secret in its arguments, in its environment and so in memory.
	sleeper := exec.CommandContext(ctx, "tail", "-f", os.DevNull, "--pid="+fmt.Sprint(os.Getpid()), "--", filepath.Join(dir, secret))
	sleeper.Env = []string{"PASSWORD=" + secret}
	if err := sleeper.Start(); err != nil {
		return err
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	s := newSearch(secret)
	files, _, err := s.below(dir, time.Time{})
	if err != nil || len(files) != len(plants) {
		return errors.Join(err, fmt.Errorf("of %d plants it found %v", len(plants), files))
	}
	return s.findsProcess(ctx, sleeper.Process.Pid)
}}

// findsProcess wants the secret in all places of a process.
func (s *search) findsProcess(ctx context.Context, pid int) error {
	for {
		processes, _, err := s.processes()
		memory, memErr := s.memory(pid)
		if err := errors.Join(err, memErr); err != nil {
			return err
		}
		if len(processes) == 2 && len(memory) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("of a process it found %v and %v", processes, memory)
		case <-time.After(50 * time.Millisecond): // it has not executed yet
		}
	}
}

func searchSecret(ctx context.Context, l *Lab) (_ Refusal, err error) {
	began := time.Now().Add(-time.Second) // what file systems round to
	folder, err := l.Folder("log")
	if err != nil {
		return Refusal{}, err
	}
	log, err := os.Create(filepath.Join(folder, "debug.log"))
	if err != nil {
		return Refusal{}, err
	}
	defer log.Close()
	v, err := l.start(ctx, "searched", func(r *wiring.Run) {
		r.Builder.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if err != nil {
		return Refusal{}, err
	}
	defer func() { err = errors.Join(err, v.end()) }()
	h := &hunt{search: newSearch(v.password), victim: v, since: began}
	during, err := h.look()
	if err != nil || during.By == Nobody {
		return during, err
	}
	v.stop()
	<-v.ended
	return h.after()
}

// A hunt searches the host of one machine.
type hunt struct {
	*search
	victim *victim
	since  time.Time
	looked int // files and processes
}

// look searches while the workload runs.
func (h *hunt) look() (Refusal, error) {
	found, err := h.places()
	if err != nil {
		return Refusal{}, err
	}
	if len(found) > 0 { // at the broker it is sealed
		return Broke("while the workload runs the secret is in %v", found), nil
	}
	pid, err := processOf(filepath.Join(h.victim.installation.Machine("attacked"), "machine", "vars.fd"))
	if err != nil {
		return Refusal{}, err
	}
	memory, err := h.memory(pid)
	if err != nil || len(memory) == 0 {
		return Refusal{}, errors.Join(err, errors.New("the search did not find the secret in the machine's memory, which has it"))
	}
	for _, m := range memory {
		if m.dumped {
			return Broke("a core file of QEMU's would hold the secret: it is at %x-%x %s", m.start, m.end, m.name), nil
		}
	}
	return Refusal{Guest, "in memory that no core file has"}, nil
}

// after searches when the machine is gone.
func (h *hunt) after() (Refusal, error) {
	found, err := h.places()
	if err != nil {
		return Refusal{}, err
	}
	if len(found) > 0 {
		return Broke("after the run the secret is in %v", found), nil
	}
	disk, err := os.Open(h.victim.guest.DiskPath())
	if err != nil {
		return Refusal{}, err
	}
	defer disk.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, disk); err != nil {
		return Refusal{}, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.victim.guest.Disk.Digest.Hex() {
		return Broke("the machine wrote to its disk: %s", got), nil
	}
	return Refusal{Guest, fmt.Sprintf("the secret was in the machine's memory, which goes into no core file, and nowhere else: %d files, command lines and environments were searched", h.looked)}, nil
}

// places are all where a host might find what was let slip: files written
// since, the console, the workload's output, and processes.
func (h *hunt) places() (all []find, err error) {
	for _, dir := range []string{h.victim.lab.Builder.Installation.Dir(), os.TempDir(), "/var/tmp", "/dev/shm", "."} {
		found, looked, err := h.below(dir, h.since)
		if err != nil {
			return nil, err
		}
		all, h.looked = append(all, found...), h.looked+looked
	}
	for name, text := range map[string]*record{"the console": h.victim.console, "the workload's output": h.victim.output} {
		forms, err := h.in(strings.NewReader(text.String()))
		if err != nil {
			return nil, err
		}
		if len(forms) > 0 {
			all = append(all, find{name, forms})
		}
	}
	found, looked, err := h.processes()
	h.looked += looked
	return append(all, found...), err
}
