package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/machine"
)

// probe runs the boot sector under KVM. Only ctx ending is an error: a guest
// that hangs is an answer, and so is one that emulation would outrun.
func probe(ctx context.Context, binary, key string) (answer, error) {
	reason, err := runSector(ctx, binary, machine.AccelKVM, probeLoops)
	return answer{Key: key, Works: err == nil && reason == "", Reason: reason}, err
}

// runSector runs the boot sector and tells what went wrong, if anything.
func runSector(ctx context.Context, binary string, accel machine.Accel, loops uint32) (reason string, err error) {
	dir, err := os.MkdirTemp("", "holdfast-probe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "sector")
	if err := os.WriteFile(image, bootSector(loops), 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(image, 1<<20); err != nil { // SeaBIOS boots no disk without a cylinder
		return "", err
	}
	p, err := spawn(binary, probeArgs(image, accel), nil)
	if err != nil {
		return "", err
	}
	hung := time.NewTimer(probeLimit)
	defer hung.Stop()
	select {
	case <-p.done:
		return probeReason(p.exited), nil
	case <-hung.C:
		p.kill()
		<-p.done
		return fmt.Sprintf("a test guest did not do the work of 0.1s in %s%s", probeLimit, complaint(p.exited)), nil
	case <-ctx.Done():
		p.kill()
		<-p.done
		return "", ctx.Err()
	}
}

func probeArgs(image string, accel machine.Accel) []string {
	args := []string{
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-machine", "q35", "-m", "16",
		"-blockdev", fileNode("sector", image, true), "-device", "virtio-blk-pci,drive=sector,bootindex=0",
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=1", probePort),
	}
	return append(args, accelArgs(accel)...)
}

func probeReason(e machine.Exited) string {
	if e.Code == probeExit {
		return ""
	}
	return "a test guest did not run: " + e.Status + complaint(e)
}

// complaint gives the first line that QEMU complained with, in brackets.
func complaint(e machine.Exited) string {
	line, _, _ := strings.Cut(strings.TrimSpace(e.Stderr), "\n")
	if line == "" {
		return ""
	}
	return " (" + machine.Printable(line) + ")"
}
