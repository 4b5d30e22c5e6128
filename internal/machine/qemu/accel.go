package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/machine"
)

// A NoKVMError says why KVM, which was demanded, does not work here.
type NoKVMError struct{ Reason string }

func (e *NoKVMError) Error() string {
	return "accelerator kvm does not work here: " + e.Reason
}

// An answer is what a probe found out, and where that holds.
type answer struct {
	Key    string `json:"key"`
	Works  bool   `json:"works"`
	Reason string `json:"reason,omitempty"` // why it does not
}

const (
	kvmDevice  = "/dev/kvm"
	bootIDFile = "/proc/sys/kernel/random/boot_id" // random(4)
	probeLimit = 3 * time.Second
)

// Accel decides how machines are executed. For AccelAuto it probes KVM by
// running a guest, since a KVM that opens may still run nothing, or more
// slowly than emulation, and says so in the log when it falls back.
func (q *QEMU) Accel(ctx context.Context, want machine.Accel) (machine.Accel, error) {
	if want == machine.AccelTCG {
		return want, nil
	}
	found, err := q.kvm(ctx, want == machine.AccelKVM)
	switch {
	case err != nil:
		return "", fmt.Errorf("probe kvm: %w", err)
	case found.Works:
		return machine.AccelKVM, nil
	case want == machine.AccelKVM:
		return "", &NoKVMError{Reason: found.Reason}
	}
	q.log.Info("kvm does not work here: machines are emulated, which is slower", "reason", found.Reason)
	return machine.AccelTCG, nil
}

// kvm tells whether KVM works, from memory where it can. A remembered no is
// not enough for somebody who insists.
func (q *QEMU) kvm(ctx context.Context, insist bool) (answer, error) {
	key, reason := q.probeKey()
	if reason != "" {
		return answer{Reason: reason}, nil
	}
	file := q.config.AccelFile
	if file == "" {
		return probe(ctx, q.binary, key)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return answer{}, err
	}
	unlock, err := atomicfile.Lock(ctx, file+".lock")
	if err != nil {
		return answer{}, err
	}
	defer unlock()
	if known := recall(file); known.Key == key && (known.Works || !insist) {
		return known, nil
	}
	found, err := probe(ctx, q.binary, key)
	if err != nil {
		return answer{}, err
	}
	return found, remember(file, found)
}

// probeKey names all that the answer depends on: this QEMU, this device, this
// boot of the kernel. Without a device that opens, it tells the reason.
func (q *QEMU) probeKey() (key, reason string) {
	device, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", "there is no " + kvmDevice
	case errors.Is(err, os.ErrPermission):
		return "", "no permission to open " + kvmDevice + " (its group is usually kvm)"
	case err != nil:
		return "", err.Error()
	}
	_ = device.Close()
	boot, _ := os.ReadFile(bootIDFile)
	return strings.Join([]string{identity(q.binary), identity(kvmDevice), strings.TrimSpace(string(boot))}, " "), ""
}

// identity changes when a file is replaced, so it stands for QEMU's version
// without running it.
func identity(path string) string {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return path
	}
	return fmt.Sprintf("%s:%d:%d:%d:%d", path, st.Ino, st.Rdev, st.Size, st.Mtim.Nano())
}

func recall(file string) answer {
	var a answer
	data, err := input.ReadFile(file, input.Key)
	if err != nil || json.Unmarshal(data, &a) != nil {
		return answer{} // probing again costs less than a complaint
	}
	return a
}

func remember(file string, a answer) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(file, append(data, '\n'), 0o600)
}
