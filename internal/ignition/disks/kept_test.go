package disks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/ignition/clevis"
	"holdfast/internal/swtpm"
)

// pcrs are those of a test's machine: 8 has its configuration.
var pcrs = json.RawMessage(`{"pcr_bank":"sha256","pcr_ids":"4,8"}`)

// A keeper is a machine that keeps one volume.
type keeper struct {
	*testing.T
	chip   *swtpm.TPM
	path   string
	config types.Config
	ran    []string
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup: apt-get install cryptsetup-bin")
	}
	k := &keeper{T: t, chip: newChip(t), path: makeDisk(t, 24, nil)}
	k.config = storage(t, `{"luks":[{"name":"state","device":%q,"clevis":{"tpm2":true}}]}`, k.path)
	return k
}

func (k *keeper) tpm() clevis.TPM2 { return pinOf(k.chip) }

// extend is another image, or another configuration, in the TPM.
func (k *keeper) extend(pcr tpm2.TPMHandle) {
	k.Helper()
	_, err := tpm2.PCREvent{PCRHandle: tpm2.AuthHandle{Handle: pcr, Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("another")}}.Execute(k.chip)
	if err != nil {
		k.Fatal(err)
	}
}

func (k *keeper) conf(digest string, redo bool) Config {
	tpm := k.tpm()
	return Config{Aliases: k.TempDir(), Bind: tpm, Pin: pcrs, Exec: k.exec, Mark: &Mark{Configuration: digest, Redo: redo,
		Mac: func(ctx context.Context, message []byte) ([]byte, error) { return tpm.Mac(ctx, message, pcrs) }}}
}

// exec runs the real cryptsetup, which tries a key where it would need a
// device mapper to open.
func (k *keeper) exec(ctx context.Context, c Command) ([]byte, error) {
	k.ran = append(k.ran, strings.Join(c.Args, " "))
	if c.Args[0] == "luksOpen" {
		c.Args = slices.DeleteFunc(c.Args, func(a string) bool { return a == "state" || a == "--persistent" })
		c.Args = append(c.Args, "--test-passphrase")
	}
	return Program(ctx, c)
}

const mine, others = "sha256:0123456789abcdef0123456789abcdef0123", "sha256:ffff456789abcdef0123456789abcdef0123"

func (k *keeper) make(digest string, redo bool) error {
	return New(k.conf(digest, redo)).Run(k.Context(), k.config)
}

func (k *keeper) open(digest string) error {
	return NewKept(k.conf(digest, false), k.config).Open(k.Context(), k.config.Storage.Luks[0])
}

func (k *keeper) stands(digest string, want Standing) {
	k.Helper()
	if got, err := NewKept(k.conf(digest, false), k.config).Standing(k.config.Storage.Luks[0]); err != nil || got != want {
		k.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestAVolumeOpensAgainInItsOwnMachineOnly(t *testing.T) {
	for what, change := range map[string]func(*keeper){
		"image":         func(k *keeper) { k.extend(4) },
		"configuration": func(k *keeper) { k.extend(8) },
	} {
		k := newKeeper(t)
		k.stands(mine, Absent)
		if err := k.make(mine, false); err != nil {
			t.Fatal(err)
		}
		k.stands(mine, Bound)
		k.stands(others, Changed)
		if err := k.open(mine); err != nil {
			t.Fatal(err)
		}
		if last := k.ran[len(k.ran)-1]; !strings.Contains(last, "--header /proc/self/fd/4") {
			t.Errorf("opened by the disk's own header: %s", last)
		}
		change(k)
		if err := k.open(mine); !errors.Is(err, clevis.ErrRefused) {
			t.Errorf("another %s: got %v, want %v", what, err, clevis.ErrRefused)
		}
	}
}

// Whatever a host writes into a header, a genuine one aside, is told.
func TestAHeaderThatAHostChangedIsNotUsed(t *testing.T) {
	k := newKeeper(t)
	if err := k.make(mine, false); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(k.path)
	if err != nil {
		t.Fatal(err)
	}
	change := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("cryptsetup", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s", out)
		}
	}
	for what, do := range map[string]func(){
		"flag":  func() { change("config", "--priority", "prefer", "--key-slot", "1", k.path) },
		"token": func() { change("token", "add", "--key-description", "x", k.path) },
		"no seal": func() {
			change("token", "remove", "--token-id", "1", k.path)
			k.stands(mine, Begun)
		},
		"subsystem": func() { change("config", "--subsystem", "holdfast:other", k.path) },
	} {
		do()
		if err := k.open(mine); !errors.Is(err, ErrPlanted) {
			t.Errorf("%s: got %v, want %v", what, err, ErrPlanted)
		}
		if err := os.WriteFile(k.path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.open(mine); err != nil {
		t.Errorf("as it was: %v", err)
	}
}

// Whoever has the TPM can seal a key of his own to the state of a machine, and
// cannot make its seal.
func TestAVolumeThatWasSealedByAnotherIsNotUsed(t *testing.T) {
	k := newKeeper(t)
	planted := k.conf(mine, false)
	planted.Mark.Mac = func(context.Context, []byte) ([]byte, error) { return make([]byte, 32), nil }
	if err := New(planted).Run(t.Context(), k.config); err != nil {
		t.Fatal(err)
	}
	if err := k.open(mine); !errors.Is(err, ErrPlanted) {
		t.Errorf("got %v, want %v", err, ErrPlanted)
	}
}

// A volume of a run that was cut off is made again by a run that knows it, and
// by no other.
func TestOnlyWhatWasCutOffIsMadeAgain(t *testing.T) {
	k := newKeeper(t)
	if err := k.make(mine, false); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(k.path)
	for _, err := range []error{k.make(mine, false), k.make(others, false), k.make(others, true)} {
		if !errors.Is(err, ErrOther) {
			t.Errorf("got %v, want %v", err, ErrOther)
		}
	}
	if after, _ := os.ReadFile(k.path); !bytes.Equal(before, after) {
		t.Error("a refused volume was changed")
	}
	if err := errors.Join(k.make(mine, true), k.open(mine)); err != nil {
		t.Error(err)
	}
}
