package wiring

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/image"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/progress"
	"holdfast/internal/swtpm"
)

// A Run says which workload to run in a machine of its own.
type Run struct {
	Builder    `json:"-"`
	Image      string // reference, layout, archive ("-" is Stdin), or a recipe's folder
	Name       string // of the run; no other of that name may be under way
	Guest      string // the machine: its recipe's folder, or a built machine image
	Args       []string
	Entrypoint []string
	Env        []string
	Secrets    []Secret
	API        []string // features of the API that the workload finds
	Resources  []string // kbs:///REPOSITORY/TYPE/TAG that the machine may have beside all that it needs
	Publish    []machine.Forward
	Memory     int // MiB
	CPUs       int
	Accel      machine.Accel
	Tmpfs      []api.Tmpfs
	Mounts     []api.Mount
	User       string // these replace what the image says
	Workdir    string
	Hostname   string
	ReadOnly   bool // the workload's root

	Detached bool // nobody waits for it
	Keep     bool // its output stays until it is removed
	Remove   bool // nothing stays, however it ends
	Journal  bool // the workload's output goes to a journal instead of Stdout and Stderr

	// Transport says how to reach the registry that Image is in.
	Transport transport.Options `json:"-"`

	// Ignition is what the machine makes of itself before the workload runs; it
	// is part of the configuration. nil: nothing.
	Ignition []byte
	// Machine is what it is beside its workload; it may have its identity's resource.
	Machine api.MachineConfig
	// Disks are raw images that the machine may write.
	Disks []string
	// Kept is a folder that has what makes the machine the same one the next
	// time: its TPM and the variables of its firmware. Empty: it is a new one.
	Kept string

	// Stdin is the archive when Image is "-", else the workload's standard
	// input if Interactive.
	Stdin          io.Reader `json:"-"`
	Interactive    bool
	Stdout, Stderr io.Writer `json:"-"`

	// Broker is another broker than the one this run starts. Its administrator
	// has to authorise the configuration; the run cannot.
	Broker *api.Endpoint

	// Policy is the text of a policy.json, with its keys in it, that the image
	// has to fulfil by the name As, or its reference when that is empty. The
	// machine holds it to the policy, and a tag is enough of a name then.
	Policy, As string

	// Proof is a file to write with the proofs of all that was released to the
	// workload; none when empty. Another's broker keeps its own.
	Proof string
	// Started is told of the machine when its workload runs.
	Started func(*Running) `json:"-"`
	// Console gets what the machine writes to its serial port.
	Console io.Writer `json:"-"`
	Attack  Attack    `json:"-"` // nil but in demonstrations and tests
	// Host plays the host that is not to be trusted, in attacks: it may change
	// the machine that is about to be started, after the broker authorised its
	// configuration.
	Host func(context.Context, *machine.Spec) error `json:"-"`
}

// A Secret is a value that only the proven workload finds, in
// /run/secrets/NAME. It is put at this run's broker, or it is a resource that
// the broker has already, or what a sealed secret stands for.
type Secret struct {
	Name     string
	Value    []byte
	Resource string // kbs:///REPOSITORY/TYPE/TAG, instead of Value
	Sealed   string // instead of both
}

// isPlaced says whether the run itself puts the value at the broker.
func (s Secret) isPlaced() bool { return s.Resource == "" && s.Sealed == "" }

// LogValue keeps the value out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.Name) }

// String keeps the value out of everything else that prints.
func (s Secret) String() string { return s.Name }

// Running is what a caller may know of a machine whose workload runs.
type Running struct {
	Name   string
	Digest string // of the image
	Ports  []machine.Forward
	After  time.Duration // since the machine was started
}

// A Result is how a run ended, and the chain that led there.
type Result struct {
	Outcome machine.Outcome
	Report  *Report
	// Interrupted says that the run was ended from outside, and that its
	// workload did not come to an end of its own.
	Interrupted bool
}

// isGood says whether there is nothing to look into.
func (r *Result) isGood() bool {
	return r.Interrupted || r.Outcome.Reason == machine.PoweredOff && r.Outcome.Exit != nil
}

// A session is one run under way.
type session struct {
	Run
	ring     *keys.Ring
	folder   string
	guest    *image.Machine
	workload *workload
	services *Services
	qemu     *qemu.QEMU
	firmware machine.Firmware
	secrets  []api.SecretRef
	config   []byte // the init-data document
	report   *Report
	record   *recorder
}

// Run starts what is needed, boots the machine and follows it to its end.
func (i Installation) Run(ctx context.Context, r Run) (result *Result, err error) {
	s := &session{Run: r, folder: i.Machine(r.Name), report: &Report{Name: r.Name}}
	s.Installation, s.Progress = i, progress.Or(r.Progress)
	release, err := s.claim(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.tidy(result, err), release()) }()
	letGo, err := s.takeKept()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, letGo()) }()
	closeOutput, err := s.keepOutput()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeOutput()) }()
	if s.ring, err = i.Ring(ctx); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.services.Close()) }()
	defer s.withdraw()
	if err := s.authorise(ctx); err != nil {
		return nil, err
	}
	s.introduce()
	if err := s.remember(); err != nil {
		return nil, err
	}
	if s.Remove {
		defer func() { err = errors.Join(err, i.forgetReport(s.Name)) }()
	}
	outcome, err := s.boot(ctx)
	if err != nil {
		return nil, err
	}
	s.report.Outcome = outcome.String()
	if outcome.Exit != nil {
		s.report.ExitCode = &outcome.Exit.Code
	}
	if err := errors.Join(s.conclude(), s.remember()); err != nil {
		return nil, err
	}
	return &Result{Outcome: outcome, Report: s.report, Interrupted: ctx.Err() != nil && outcome.Exit == nil}, nil
}

// machineArchitecture is that of the machines that package qemu starts.
const machineArchitecture = "amd64"

// prepare makes the parts that do not depend on one another, at once.
func (s *session) prepare(ctx context.Context) error {
	err := s.canKeepProofs()
	if err != nil {
		return err
	}
	if s.qemu, err = qemu.New(qemu.Config{AccelFile: s.Installation.accelFile(), Logger: s.Log}); err != nil {
		return err
	}
	if err := swtpm.Installed(); err != nil {
		return err
	}
	if s.firmware, err = s.Installation.Firmware(s.ring); err != nil {
		return err
	}
	s.useVariables()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.manufacture(gctx) })
	g.Go(func() (err error) { s.guest, err = s.machineImage(gctx); return err })
	g.Go(func() (err error) { s.workload, err = s.fetch(gctx); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	if s.guest.Architecture != machineArchitecture {
		return fmt.Errorf("machine image %s is for %s: machines started here are %s", s.guest.Name, s.guest.Architecture, machineArchitecture)
	}
	s.record.mention(func(r *Record) { r.Digest = string(s.workload.image.Digest) })
	if s.Attack != nil {
		if err := s.Attack(s.path("registry"), s.workload.layers); err != nil {
			return err
		}
	}
	return s.serve()
}

// serve starts this run's registry and broker. Where the machine may be told
// of any registry, one whose port is taken moves to a free one.
func (s *session) serve() error {
	at, kept := s.listen()
	err := s.serveAt(at)
	var taken *PortTakenError
	if errors.As(err, &taken) && s.Broker == nil && !kept {
		at = listening{anyPort, anyPort}
		if s.Kept != "" {
			at = listening{steadyPort(), steadyPort()}
		}
		err = s.serveAt(at)
	}
	if err != nil {
		return err
	}
	return s.keepListen()
}

func (s *session) serveAt(at listening) (err error) {
	s.services, err = s.Installation.Serve(s.ring, ServeConfig{
		RegistryListen: at.Registry, BrokerListen: at.Broker, TLS: true,
		RegistryDir: s.path("registry"), RegistryReadOnly: true, Log: s.Log, // the workload can reach it
	})
	return err
}

// registryAddress is the same for the same image: the machine is told of it in
// its configuration, and another broker's administrator authorises that by its
// digest. With this run's own broker any free port does as well.
func (s *session) registryAddress() string {
	sum := sha256.Sum256([]byte(s.workload.seed()))
	return fmt.Sprintf("127.0.0.1:%d", firstSteady+int(binary.BigEndian.Uint16(sum[:]))%steadyPorts)
}

func (s *session) path(name string) string { return filepath.Join(s.folder, name) }

// A workload is the image to run, as the machine's registry has it.
type workload struct {
	place
	image  transport.Image
	keys   []string // kbs:/// resources that its layers need
	layers []transport.Layer
}

// fetch brings the image into the registry of this run.
func (s *session) fetch(ctx context.Context) (*workload, error) {
	src, err := s.source(ctx)
	if err != nil {
		return nil, err
	}
	place, err := s.place(src)
	if err != nil {
		return nil, err
	}
	dst := transport.LayoutRef(filepath.Join(s.path("registry"), place.name), place.tag)
	opts := s.Transport
	opts.Architecture = machineArchitecture
	opts.Stdin, opts.Progress, opts.TempDir, opts.Logger = s.Stdin, s.Progress, s.folder, s.Log
	opts.Parts = s.Installation.Partial() // which outlives this run's folder
	if err := os.MkdirAll(s.path("registry"), 0o700); err != nil {
		return nil, err
	}
	if err := s.bring(ctx, src, dst, place, opts); err != nil {
		return nil, err
	}
	img, err := transport.Inspect(ctx, dst, opts)
	if err != nil {
		return nil, err
	}
	keys, err := brokerKeys(img)
	if err != nil {
		return nil, err
	}
	return &workload{place: place, image: img, keys: keys, layers: img.Layers}, s.checkKeys(ctx, keys)
}

// checkKeys says early that this run's broker could never give a key.
func (s *session) checkKeys(ctx context.Context, keys []string) error {
	if s.Broker != nil || len(keys) == 0 {
		return nil
	}
	broker, err := s.Installation.Admin(s.ring)
	if err != nil {
		return err
	}
	absent, err := firstAbsent(ctx, broker, keys)
	if err == nil && absent != "" {
		err = &NoResourceError{Image: s.Image, Resource: absent}
	}
	return err
}

// firstAbsent is the first of the resources kids that the broker neither has nor
// keeps in its HSM, which is asked only when there is need.
func firstAbsent(ctx context.Context, broker *admin.Client, kids []string) (string, error) {
	have, err := broker.Resources(ctx)
	if err != nil {
		return "", err
	}
	absent := func(kid string) bool { return !slices.Contains(have, strings.TrimPrefix(kid, kbsScheme)) }
	if !slices.ContainsFunc(kids, absent) {
		return "", nil
	}
	kept, err := broker.KeptKeys(ctx)
	if err = forgiveAbsent(err); err != nil {
		return "", fmt.Errorf("ask the broker's HSM for keys: %w", err)
	}
	for _, k := range kept {
		have = append(have, k.Label)
	}
	if n := slices.IndexFunc(kids, absent); n >= 0 {
		return strings.TrimPrefix(kids[n], kbsScheme), nil
	}
	return "", nil
}

// source is what Image names; a recipe is built first.
func (s *session) source(ctx context.Context) (transport.Ref, error) {
	if !isRecipe(s.Image) {
		return transport.Parse(s.Image)
	}
	dir := s.path("image")
	err := s.Fresh(ctx, s.Image, func(l LockedRecipe) error {
		_, err := s.OCI(ctx, l, dir)
		return err
	})
	return transport.LayoutRef(dir, ""), err
}

func isRecipe(path string) bool {
	_, err := os.Stat(filepath.Join(path, "recipe.yaml"))
	return err == nil
}

// brokerKeys lists the broker resources that decrypt img. Every encrypted
// layer must have one: the machine has no other keys.
func brokerKeys(img transport.Image) ([]string, error) {
	seen := map[string]bool{}
	var list []string
	for _, l := range img.Layers {
		if !l.Encrypted {
			continue
		}
		kid := brokerKey(l)
		if kid == "" {
			return nil, fmt.Errorf("image %s: layer %s is encrypted for nobody that a broker speaks for: want a kbs:/// key",
				img.Reference, l.Digest.Short())
		}
		if !seen[kid] {
			seen[kid] = true
			list = append(list, kid)
		}
	}
	return list, nil
}

func brokerKey(l transport.Layer) string {
	for _, k := range l.Keys {
		if len(k.ID) > len(kbsScheme) && k.ID[:len(kbsScheme)] == kbsScheme {
			return k.ID
		}
	}
	return ""
}
