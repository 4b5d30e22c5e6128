package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// How often the time that components take is looked at, and which part of a processor
// is work and which is rest.
const (
	window = 20 * time.Second
	work   = window / 2
	rest   = window / 5
)

// settle gives memory back to the host whenever components, and the machines of confidential
// pods among them, come to rest: what only their start needed, for one, which is most of
// the pages of their programs. Pages that are needed again are read again; what was
// written stays, for secrets are in it.
func settle(ctx context.Context, u usage, log *slog.Logger) {
	if err := u.keepFromSwap(); err != nil {
		log.Warn("the kernel may swap what components have written", "err", err)
	}
	tick := time.NewTicker(window)
	defer tick.Stop()
	last, worked, said := time.Duration(0), true, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := u.time()
		switch took := now - last; {
		case took > work:
			worked = true
		case worked && took < rest && err == nil:
			worked, err = false, u.settle(log)
		}
		if err != nil && !said {
			said = true
			log.Warn("memory that components do not need is kept", "err", err)
		}
		last = now
	}
}

func (u usage) settle(log *slog.Logger) error {
	before, err := u.pages()
	if err != nil {
		return err
	}
	if err := u.giveBack(before / 4 * 3); err != nil {
		return err
	}
	after, err := u.pages()
	log.Info("memory is given back", "bytes", before-after)
	return err
}

// usage is where components' time and memory are counted: folders of control groups.
type usage struct {
	cpu, memory string
	version     int
}

func usageOf(m api.ContainerMachine) usage {
	const top = "/sys/fs/cgroup"
	u := usage{filepath.Join(top, components), filepath.Join(top, components), m.Cgroups}
	for folder, controllers := range m.Controllers {
		for name := range strings.SplitSeq(controllers, ",") {
			switch name {
			case "cpuacct":
				u.cpu = filepath.Join(top, folder, components)
			case "memory":
				u.memory = filepath.Join(top, folder, components)
			}
		}
	}
	return u
}

// time is that which components have taken of processors.
func (u usage) time() (time.Duration, error) {
	if u.version == 1 {
		ns, err := number(filepath.Join(u.cpu, "cpuacct.usage"))
		return time.Duration(ns), err
	}
	us, err := sum(filepath.Join(u.cpu, "cpu.stat"), "usage_usec")
	return time.Duration(us) * time.Microsecond, err
}

// pages are those of files, in bytes.
func (u usage) pages() (int64, error) {
	return sum(filepath.Join(u.memory, "memory.stat"), "active_file", "inactive_file") // as both versions call them
}

// number is all that is in a file.
func number(path string) (int64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// sum adds up what a file of lines has behind names.
func sum(path string, names ...string) (all int64, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		if len(f) != 2 || !slices.Contains(names, f[0]) {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", path, f[0], err)
		}
		all += n
	}
	return all, nil
}

// giveBack has the kernel take so many bytes of files, those that were not used for longest.
func (u usage) giveBack(bytes int64) error {
	if err := u.keepFromSwap(); err != nil {
		return err
	}
	if u.version == 1 {
		return u.press(bytes)
	}
	file := filepath.Join(u.memory, "memory.reclaim") // cgroup-v2.rst
	err := os.WriteFile(file, fmt.Append(nil, bytes), 0)
	if errors.Is(err, unix.EAGAIN) { // it found fewer
		return nil
	}
	return err
}

// keepFromSwap says that nothing which components have written goes to a disk; with
// version 1 a kernel that has no other way out still does it. One that counts no swap
// has no such file, and one that has no swap needs none.
func (u usage) keepFromSwap() error {
	name := "memory.swap.max"
	if u.version == 1 {
		name = "memory.swappiness"
	}
	f, err := os.OpenFile(filepath.Join(u.memory, name), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("0")
	return errors.Join(err, f.Close())
}

// press sets a limit so far below what there is, and takes it away at once: version 1 has
// no other way that says how much. (memory.force_empty takes all, over and over, as what
// is used comes back: seconds of a processor.)
func (u usage) press(bytes int64) error {
	now, err := number(filepath.Join(u.memory, "memory.usage_in_bytes"))
	if err != nil {
		return err
	}
	limit := filepath.Join(u.memory, "memory.limit_in_bytes")
	err = os.WriteFile(limit, fmt.Appendf(nil, "%d", now-bytes), 0o644)
	if errors.Is(err, unix.EBUSY) { // it found fewer, and set none
		err = nil
	}
	return errors.Join(err, os.WriteFile(limit, []byte("-1"), 0o644))
}
