// Package provision boots machines that make of themselves what an Ignition
// config says, boots them again, and cuts their power.
//
// It needs QEMU, OVMF, swtpm, gdisk and cryptsetup; make test installs them.
package provision

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/image"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
	"holdfast/test/testbed"
)

const root = testbed.Root

// A bench is what the tests share: a machine image and the eyes.
type bench struct {
	builder wiring.Builder
	ring    *keys.Ring
	image   *image.Machine
	eyes    string // an OCI layout
}

var shared = sync.OnceValues(newBench)

func newBench() (*bench, error) {
	ctx := context.Background()
	bed, err := testbed.Open(ctx, "machine")
	if err != nil {
		return nil, err
	}
	b := &bench{builder: bed.Builder, ring: bed.Ring, image: bed.Machine}
	b.eyes, err = bed.OCI(ctx, filepath.Join("testdata", "eyes"))
	return b, err
}

func needs(t testing.TB) *bench {
	t.Helper()
	testbed.Boots(t)
	for _, tool := range []string{"sgdisk", "cryptsetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err, "(make test installs it)")
		}
	}
	b, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// other is a machine image that differs by one word of its command line, and
// is signed by the same keys.
func (b *bench) other(t *testing.T) *image.Machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "other")
	var m *image.Machine
	err := b.builder.Fresh(t.Context(), filepath.Join(root, "images", "machine"), func(l wiring.LockedRecipe) (err error) {
		l.Recipe.Machine.Cmdline += " other.image=1"
		if l.Lock.Recipe, err = l.Recipe.Digest(); err == nil {
			m, err = b.builder.Machine(t.Context(), l, dir, b.ring)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A subject is one machine: its TPM, its second disk and what it is to be.
type subject struct {
	*testing.T
	b      *bench
	home   string
	config []byte
	is     api.MachineConfig
	said   bytes.Buffer // on the console of the last boot
}

func newSubject(t *testing.T, b *bench, config string) *subject {
	t.Helper()
	s := &subject{T: t, b: b, home: t.TempDir()}
	s.configure(config)
	s.disk()
	return s
}

func (s *subject) configure(config string) {
	s.Helper()
	var err error
	if s.config, s.is, err = (wiring.NodeConfig{}).ForMachine("machine.bu", []byte(config)); err != nil {
		s.Fatal(err)
	}
}

// boot starts the machine with the script as its workload; edit may change the
// run.
func (s *subject) boot(script string, edit func(*wiring.Run)) (*wiring.Result, string) {
	s.Helper()
	var out bytes.Buffer
	s.said.Reset()
	r := wiring.Run{
		Builder: s.b.builder, Image: "oci:" + s.b.eyes, Name: "provision-" + filepath.Base(s.home), Guest: s.b.image.Dir,
		Args: []string{script}, Stdout: &out, Stderr: &out, Console: &s.said, Memory: 1024,
		Ignition: s.config, Machine: s.is, Disks: []string{s.path("disk")}, Kept: s.path("machine"),
		Mounts: []api.Mount{{Source: "/etc", Path: "/m/etc"}, {Source: "/var", Path: "/m/var"}},
	}
	if edit != nil {
		edit(&r)
	}
	ctx, cancel := context.WithTimeout(s.Context(), 8*time.Minute)
	defer cancel()
	result, err := s.b.builder.Installation.Run(ctx, r)
	if err != nil {
		s.Fatal(err)
	}
	return result, out.String()
}

// good wants the workload to have run and to have ended with 0.
func (s *subject) good(r *wiring.Result) {
	s.Helper()
	if o := r.Outcome; o.Reason != machine.PoweredOff || o.Exit == nil || o.Exit.Code != 0 {
		s.Fatalf("got %s, want a workload that ends well\n%s", o, s.said.String())
	}
}

// refused wants the machine to say why it does not provision itself.
func (s *subject) refused(r *wiring.Result, words ...string) {
	s.Helper()
	o := r.Outcome
	if o.Reason != machine.Refused || o.Refusal.Stage != "provision" {
		s.Fatalf("got %s, want a refusal at stage provision\n%s", o, s.said.String())
	}
	for _, want := range words {
		if !strings.Contains(o.Refusal.Reason, want) {
			s.Errorf("got %q, want %q in it", o.Refusal.Reason, want)
		}
	}
}

func (s *subject) path(name string) string { return filepath.Join(s.home, name) }

// The canary lies in a partition that no config speaks of.
const (
	canary      = "nobody said that this may be wiped"
	canaryBlock = 500000
	sector      = 512
)

func (s *subject) disk() {
	s.Helper()
	path := s.path("disk")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(300 << 20)
	}
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	s.tool("sgdisk", "-n", "9:500000:540000", "-c", "9:canary", path)
	for block := int64(canaryBlock); block <= 540000; block++ {
		if _, err := f.WriteAt([]byte(canary), block*sector); err != nil {
			s.Fatal(err)
		}
	}
}

// lives wants every block of the canary, and a table that others find whole.
func (s *subject) lives() {
	s.Helper()
	raw, err := os.ReadFile(s.path("disk"))
	if err != nil {
		s.Fatal(err)
	}
	for block := canaryBlock; block <= 540000; block++ {
		if got := raw[block*sector:][:len(canary)]; string(got) != canary {
			s.Fatalf("block %d of the canary has %q", block, got)
		}
	}
	if said := s.tool("sgdisk", "-i", "9", s.path("disk")); !strings.Contains(said, "'canary'") {
		s.Errorf("the canary's partition is gone: %s", said)
	}
}

func (s *subject) tool(name string, args ...string) string {
	s.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}
