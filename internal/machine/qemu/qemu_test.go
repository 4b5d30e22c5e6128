package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/boot/verity"
	"holdfast/internal/machine"
	"holdfast/internal/swtpm"
)

// start starts a machine under emulation, and kills what a test leaves.
func start(t testing.TB, spec machine.Spec) *machine.Machine {
	t.Helper()
	needQEMU(t)
	q, err := New(Config{Linger: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	spec.Folder, spec.Accel = filepath.Join(t.TempDir(), "m"), machine.AccelTCG
	spec.CPUs, spec.Memory = 1, 512 // a second one waits for the first, mostly by spinning
	m, err := q.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Kill()
		o := wait(t, m)
		if t.Failed() {
			t.Logf("outcome: %s\n%s", o, strings.Join(o.Console, "\n"))
		}
	})
	return m
}

func wait(t testing.TB, m *machine.Machine) machine.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	o, err := m.Wait(ctx)
	if err != nil {
		t.Fatalf("machine still runs: %v\n%s", err, strings.Join(m.Console(), "\n"))
	}
	return o
}

// until reads events up to the named one and returns its detail.
func until(t testing.TB, m *machine.Machine, event string) (stages map[string]api.StageDetail) {
	t.Helper()
	stages = map[string]api.StageDetail{}
	for e := range m.Events() {
		if e.Event == api.EventStage {
			var d api.StageDetail
			if err := json.Unmarshal(e.Detail, &d); err != nil {
				t.Fatal(err)
			}
			stages[d.Name] = d
		}
		if e.Event == event {
			return stages
		}
	}
	t.Fatalf("machine ended before event %s", event)
	return nil
}

func TestMachineTalksServesAndStopsInGoodOrder(t *testing.T) {
	t.Parallel()
	doc := []byte("version = \"0.1.0\"\n")
	m := start(t, machine.Spec{
		Name: "talk,er", Kernel: guest(t, "talk"), InitData: doc,
		Ports: []machine.Forward{{GuestPort: 7}}, TPM: newTPM(t),
	})
	stages := until(t, m, api.EventStarted)
	t.Logf("workload started after %s", time.Since(m.Started()))
	sum := sha256.Sum256(doc)
	if got, want := stages["config"].Digest, "sha256:"+hex.EncodeToString(sum[:]); got != want {
		t.Errorf("init-data in the machine: got %s, want %s", got, want)
	}
	if got := stages["tpm"].Text; got != "2" {
		t.Errorf("TPM in the machine: got %q, want version 2", got)
	}
	checkPort(t, m.Ports()[0])
	checkEcho(t, m.Stdio())
	checkCalls(t, m)
	o := m.Stop(t.Context(), time.Minute)
	if o.Reason != machine.PoweredOff || o.Exit == nil || o.Exit.Code != 7 {
		t.Errorf("got %+v, want powered off with exit code 7", o)
	}
}

// newTPM makes and starts a TPM. The machine that gets it closes it.
func newTPM(t *testing.T) machine.TPM {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs swtpm: %v", err)
	}
	dir := t.TempDir()
	config := swtpm.Config{Dir: filepath.Join(dir, "tpm"), CADir: filepath.Join(dir, "ca")}
	if err := swtpm.Manufacture(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	p, err := swtpm.Start(context.WithoutCancel(t.Context()), config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func checkPort(t *testing.T, port machine.Forward) {
	t.Helper()
	if port.HostPort == 0 {
		t.Fatal("no host port was picked")
	}
	c, err := net.Dial("tcp", netip.AddrPortFrom(port.HostIP, port.HostPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, _ := io.ReadAll(c); string(got) != "hello\n" {
		t.Errorf("published port says %q, want hello", got)
	}
}

func checkEcho(t *testing.T, s *machine.Stdio) {
	t.Helper()
	input := bytes.Repeat([]byte("0123456789abcdef"), 3*api.MaxFrame/16)
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(input)
		sent <- errors.Join(err, s.CloseInput())
	}()
	var stdout, stderr bytes.Buffer
	if err := errors.Join(s.Copy(&stdout, &stderr), <-sent); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stdout.Bytes(), input) || stderr.Len() != 0 {
		t.Errorf("echo: got %d and %d bytes, want %d and none", stdout.Len(), stderr.Len(), len(input))
	}
}

func checkCalls(t *testing.T, m *machine.Machine) {
	t.Helper()
	if _, err := m.Call(t.Context(), api.Call{Call: api.CallStatus}); err != nil {
		t.Error(err)
	}
	var refused *machine.CallError
	if _, err := m.Call(t.Context(), api.Call{Call: api.CallSignal}); !errors.As(err, &refused) {
		t.Errorf("call signal: got %v, want a refusal", err)
	}
}

func TestEndsAreRecognised(t *testing.T) {
	for mode, want := range map[string]machine.Reason{
		"panic":  machine.KernelPanic,
		"refuse": machine.Refused,
		"reset":  machine.Reset,
		"off":    machine.PoweredOff,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			checkEnd(t, start(t, machine.Spec{Kernel: guest(t, mode)}), want)
		})
	}
}

func TestAlteredBlockStopsTheMachineAndIsNamed(t *testing.T) {
	const blocks = 256
	for name, flipped := range map[string]int{"data": 100, "metadata": blocks + 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, disk := verityDisk(t, blocks, flipped)
			mode := fmt.Sprintf("verity:%x:%d", root, blocks)
			o := checkEnd(t, start(t, machine.Spec{Kernel: guest(t, mode), Disk: disk}), machine.VerityCorruption)
			if o.Corrupt != nil && o.Corrupt.Metadata != (name == "metadata") {
				t.Errorf("got %+v, want a block of %s", o.Corrupt, name)
			}
		})
	}
}

// verityDisk is a disk of some data blocks and then their hash tree, with a
// bit flipped in one block.
func verityDisk(t *testing.T, blocks, flipped int) (root [32]byte, path string) {
	t.Helper()
	data := make([]byte, blocks*verity.BlockSize)
	for i := range data {
		data[i] = byte(i / verity.BlockSize)
	}
	tree, err := verity.Build(bytes.NewReader(data), verity.Params{})
	if err != nil {
		t.Fatal(err)
	}
	disk := append(data, tree.Device()...)
	disk[flipped*verity.BlockSize] ^= 1
	return tree.Root, diskOf(t, func(w io.Writer) error { _, err := w.Write(disk); return err })
}

// checkEnd waits for the machine and judges how it ended.
func checkEnd(t *testing.T, m *machine.Machine, want machine.Reason) machine.Outcome {
	t.Helper()
	o := wait(t, m)
	t.Logf("after %.1fs: %s", time.Since(m.Started()).Seconds(), o)
	if o.Reason != want {
		t.Errorf("got %s, want %s", o.Reason, want)
	}
	return o
}

func TestMachineThatNeverSpokeIsKilledAtOnce(t *testing.T) {
	m := start(t, machine.Spec{Kernel: guest(t, "hang")})
	begin := time.Now()
	if o := m.Stop(t.Context(), 10*time.Second); o.Reason != machine.Killed {
		t.Errorf("got %s, want killed", o)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	port := machine.Forward{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: addr.Port(), GuestPort: 80}
	_, err = startBare(t, machine.Spec{Folder: t.TempDir(), Ports: []machine.Forward{port}})
	var taken *PortTakenError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), addr.String()) {
		t.Fatalf("got %v, want an error that names %s", err, addr)
	}
}

func TestFolderIsUsedByOneMachineAtATime(t *testing.T) {
	dir := t.TempDir()
	m, err := startBare(t, machine.Spec{Folder: dir})
	if err != nil {
		t.Fatal(err)
	}
	var inUse *InUseError
	if _, err := startBare(t, machine.Spec{Folder: dir}); !errors.As(err, &inUse) {
		t.Errorf("second machine: got %v, want in use", err)
	}
	m.Kill()
	wait(t, m)
	m, err = startBare(t, machine.Spec{Folder: dir})
	if err != nil {
		t.Fatal(err)
	}
	m.Kill()
	wait(t, m)
}

func TestGuestThatQEMUHaltsIsEnded(t *testing.T) {
	ours, qemus := net.Pipe()
	halted := make(chan struct{})
	m := startMonitor(ours, func() { close(halted) })
	_, _ = io.WriteString(qemus, `{"event": "STOP"}`+"\n")
	<-halted
	_ = qemus.Close()
	<-m.gone
}

// startBare starts a machine that has nothing useful to boot.
func startBare(t *testing.T, spec machine.Spec) (*machine.Machine, error) {
	t.Helper()
	q, err := New(Config{Binary: needQEMU(t)})
	if err != nil {
		t.Fatal(err)
	}
	spec.Disk, spec.Firmware, spec.Accel = emptyDisk(t), needFirmware(t), machine.AccelTCG
	return q.Start(t.Context(), spec)
}
