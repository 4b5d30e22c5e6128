package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/broker/admin"
	"holdfast/internal/image"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// A rig is what all attacks that boot machines share: the machine image under
// attack, with its keys, and a workload that is not encrypted yet.
type rig struct {
	lab      *Lab
	ring     *keys.Ring
	guest    *image.Machine
	workload string // an OCI layout
}

func (l *Lab) rig(ctx context.Context) (*rig, error) {
	return Shared(l, "rig", func() (_ *rig, err error) {
		r := &rig{lab: l, workload: filepath.Join(l.dir, "workload")}
		if r.ring, err = l.Builder.Installation.Ring(ctx); err != nil {
			return nil, err
		}
		if r.guest, err = l.guest(ctx, r.ring); err != nil {
			return nil, err
		}
		return r, l.Builder.Fresh(ctx, l.Workload, func(recipe wiring.LockedRecipe) error {
			_, err := l.Builder.OCI(ctx, recipe, r.workload)
			return err
		})
	})
}

func (l *Lab) guest(ctx context.Context, ring *keys.Ring) (*image.Machine, error) {
	m, err := image.ReadMachine(l.Guest)
	if errors.Is(err, os.ErrNotExist) {
		return l.Builder.Guest(ctx, l.Guest, ring)
	}
	return m, err
}

// A stage is one attack's own: an installation with the rig's keys, whose
// broker, registry and machines are its own.
type stage struct {
	*rig
	dir          string
	installation wiring.Installation
	admin        *admin.Client
	image        string // the encrypted workload
	key          string // the resource that opens it
}

func (r *rig) stage(ctx context.Context, name string) (*stage, error) {
	dir, err := r.lab.Folder(name)
	if err != nil {
		return nil, err
	}
	s := &stage{rig: r, dir: dir}
	if s.installation, err = wiring.Open(filepath.Join(dir, "state")); err != nil {
		return nil, err
	}
	if err := r.lend(s.installation); err != nil {
		return nil, err
	}
	if s.admin, err = s.installation.Admin(r.ring); err != nil {
		return nil, err
	}
	target := filepath.Join(dir, "encrypted")
	e, err := wiring.Encrypt(ctx, s.admin, wiring.Encryption{
		Source: transport.LayoutRef(r.workload, ""), Target: transport.LayoutRef(target, "run"),
		Recipients: []string{"kbs:///default/key/workload"}, Options: transport.Options{},
	})
	if err != nil {
		return nil, err
	}
	s.image, s.key = "oci:"+target+":run", strings.TrimPrefix(e.Keys[0], "kbs:///")
	return s, nil
}

// lend gives an installation the keys, the maker of its TPMs, and what is known
// of the accelerator. Keys are not copied: they lie where they did.
func (r *rig) lend(to wiring.Installation) error {
	maker := filepath.Join(r.lab.dir, "tpm-maker")
	err := errors.Join(os.MkdirAll(maker, 0o700), os.Symlink(maker, to.TPMAuthority()), os.Symlink(r.ring.Dir(), to.Keys()))
	if err != nil {
		return err
	}
	const known = "accel.json"
	raw, err := os.ReadFile(filepath.Join(r.lab.Builder.Installation.Dir(), known))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to.Dir(), known), raw, 0o600)
}

// run is an honest run of the workload. Its secret is Redis's password.
func (s *stage) run(password string) wiring.Run {
	builder := s.lab.Builder
	builder.Installation, builder.Progress = s.installation, nil
	return wiring.Run{
		Builder: builder, Image: s.image, Name: "attacked", Guest: s.guest.Dir, Accel: s.lab.Accel,
		Secrets: []wiring.Secret{{Name: "redis.conf", Value: []byte("requirepass " + password + "\n")}},
		Stdout:  io.Discard, Stderr: io.Discard,
	}
}

// close removes all that the attack made: disks are large.
func (s *stage) close() error { return os.RemoveAll(s.dir) }

// A host changes the machine that it is about to start.
type host func(ctx context.Context, t *target) error

// A target is a machine about to be started by a host that is not to be
// trusted.
type target struct {
	*stage
	*machine.Spec
	disk *os.File // a copy of the machine's, once it was asked for
}

// attacked boots a machine whose host does what it likes, and says who
// refused. The workload would print its version and end.
func (l *Lab) attacked(ctx context.Context, name string, change host) (refusal Refusal, err error) {
	r, err := l.rig(ctx)
	if err != nil {
		return Refusal{}, err
	}
	s, err := r.stage(ctx, name)
	if err != nil {
		return Refusal{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	run := s.run("unused")
	run.Entrypoint, run.Args = []string{"redis-server"}, []string{"--version"}
	run.Host = func(ctx context.Context, spec *machine.Spec) error {
		t := &target{stage: s, Spec: spec}
		return errors.Join(change(ctx, t), t.closeDisk())
	}
	result, err := s.installation.Run(ctx, run)
	if err != nil {
		return Refusal{}, err
	}
	return s.judge(ctx, result.Outcome)
}

// judge says who refused.
func (s *stage) judge(ctx context.Context, o machine.Outcome) (Refusal, error) {
	log, err := readAudit(ctx, s.admin)
	if err != nil {
		return Refusal{}, err
	}
	var released, recorded []string
	for _, e := range log {
		switch {
		case e.Action == "get-resource" && e.Decision == api.AuditAllow:
			released = append(released, e.Resource)
		case e.Decision == api.AuditRefuse:
			recorded = append(recorded, e.Reasons...)
		}
	}
	refusal, err := refused(o, recorded)
	late := refusal.By == Guest || refusal.By == Verity // they guard what is read when the key is there
	if err == nil && len(released) > 0 && !late {
		return Broke("%s; the broker released %s", o, strings.Join(released, " and ")), nil
	}
	return refusal, err
}

func refused(o machine.Outcome, recorded []string) (Refusal, error) {
	switch o.Reason {
	case machine.FirmwareRefused:
		return Refusal{Firmware, o.Words}, nil
	case machine.Unbootable:
		return Refusal{Firmware, o.String()}, nil
	case machine.VerityCorruption:
		return Refusal{Verity, o.Corrupt.String()}, nil
	case machine.Refused:
		return refusedInside(o.Refusal, recorded)
	case machine.PoweredOff:
		return Broke("%s", o), nil
	}
	return Refusal{}, fmt.Errorf("nobody refused, but the machine did not run either: %s\n%s", o, strings.Join(o.Console, "\n"))
}

// stages of process 1 itself; what comes later is the guest's.
var nodeStages = map[string]bool{"mounts": true, "modules": true, "root": true, "config": true, "keys": true, "network": true, "node": true}

// refusedInside tells the machine's refusal. What it says of the broker must be
// in the broker's log.
func refusedInside(d *api.RefusedDetail, recorded []string) (Refusal, error) {
	reason := machine.Printable(d.Reason)
	for _, r := range recorded {
		if strings.Contains(reason, r) {
			return Refusal{Broker, strings.Join(recorded, "; ")}, nil
		}
	}
	switch {
	case len(recorded) > 0:
		return Refusal{}, fmt.Errorf("the machine said %q and the broker recorded %q", reason, recorded)
	case nodeStages[d.Stage]:
		return Refusal{Node, d.Stage + ": " + reason}, nil
	}
	return Refusal{Guest, d.Stage + ": " + reason}, nil
}

// bootControl goes the way of all attacks on a machine that is started:
// the host composes the disk and the firmware's variables again, from what was
// in them.
var bootControl = Control{"an honest machine, composed again by its host, proves itself and runs its workload", func(ctx context.Context, l *Lab) error {
	got, err := l.attacked(ctx, "control", func(_ context.Context, t *target) error {
		uki, err := t.uki()
		return errors.Join(err, t.putUKI(uki), t.variables(func(vars []efivar.Variable) []efivar.Variable { return vars }))
	})
	const ran, key = "exited with code 0; the broker released ", "default/key/workload"
	if err == nil && (got.By != Nobody || !strings.Contains(got.Reason, ran) || !strings.Contains(got.Reason, key)) {
		err = fmt.Errorf("%s: %s", got.By, got.Reason)
	}
	return err
}}

// booted is an attack by the host on a machine that it starts.
func booted(group, name, promise, change string, want Refusal, by host) Attack {
	return Attack{
		Name: name, Group: group, Promise: promise, Change: change, Boots: true, Want: want, Control: bootControl,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) { return l.attacked(ctx, name, by) },
	}
}

// bootedAttacks are all that boot a machine.
func bootedAttacks() []Attack {
	return slices.Concat(ukiAttacks(), rootAttacks(), firmwareAttacks(), handoverAttacks(), hardwareAttacks(), controlAttacks(), plugAttacks(), searchAttacks())
}
