package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/machine"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/wiring"
)

// A plugged machine is a victim whose host gave it two more disks, one of them a
// copy of its own, and has two at hand for while it runs: of each kind that its
// kernel has a driver for.
type plugged struct {
	*victim
	socket string // of QEMU's monitor
}

const (
	notIts  = "has a disk that is not this machine's: it is removed"
	tooLate = "came too late: it is removed"
)

func plugAttacks() []Attack {
	const promise = "a guest has the disk of its root and no other"
	one := func(name, change, words string, run func(context.Context, *plugged) (Refusal, error)) Attack {
		return Attack{Name: name, Group: "disk", Promise: promise, Change: change, Boots: true, Want: Refusal{Node, words}, Control: victimControl,
			Run: func(ctx context.Context, l *Lab) (Refusal, error) {
				p, err := l.plugged(ctx)
				if err != nil {
					return Refusal{}, err
				}
				p.turn.Lock()
				defer p.turn.Unlock()
				refusal, err := run(ctx, p)
				if after := p.answers(ctx); err == nil && after != nil {
					return Broke("the machine did not survive it: %v", after), nil
				}
				return refusal, err
			}}
	}
	return []Attack{
		one("second-disk", "the host starts the machine with two more disks, by virtio and NVMe, one of them with the same partitions", notIts,
			func(ctx context.Context, p *plugged) (Refusal, error) {
				return p.refused(ctx, 0, notIts, "copy", "empty1")
			}),
		booted("disk", "second-namespace", promise, "the host gives the machine its root twice, the second time as one of two disks of an NVMe controller", Refusal{Node, "root: disk"},
			func(_ context.Context, t *target) error {
				disk := filepath.Join(t.dir, "second.img")
				t.Extra = append(t.Extra, "-device", "nvme,id=two,serial=1",
					"-blockdev", "driver=file,node-name=copy,filename="+disk, "-device", "nvme-ns,bus=two,nsid=1,drive=copy",
					"-blockdev", "driver=null-co,node-name=empty,size=16777216", "-device", "nvme-ns,bus=two,nsid=2,drive=empty")
				return copyDisk(disk, t.Disk)
			}),
		one("plugged-disk", "the host plugs in two disks while the workload runs, by virtio and NVMe", tooLate, pluggedIn),
	}
}

func (l *Lab) plugged(ctx context.Context) (*plugged, error) {
	return Shared(l, "plugged", func() (*plugged, error) {
		dir, err := os.MkdirTemp("", "holdfast-qmp-") // a socket's path is short
		if err != nil {
			return nil, err
		}
		l.Later(func() error { return os.RemoveAll(dir) })
		p := &plugged{socket: filepath.Join(dir, "qmp")}
		p.victim, err = l.start(ctx, "plugged", func(run *wiring.Run) {
			honest := run.Host
			run.Host = func(ctx context.Context, spec *machine.Spec) error {
				disk := filepath.Join(dir, "second.img")
				if err := copyDisk(disk, spec.Disk); err != nil {
					return err
				}
				spec.Extra = append(spec.Extra, "-qmp", "unix:"+p.socket+",server=on,wait=off",
					"-device", "pcie-root-port,id=port1,chassis=1", "-device", "pcie-root-port,id=port2,chassis=2",
					"-blockdev", "driver=file,node-name=copy,filename="+disk, "-device", "virtio-blk-pci,drive=copy", "-device", "nvme,serial=1,drive=empty1")
				for i := range 3 {
					spec.Extra = append(spec.Extra, "-blockdev", fmt.Sprintf("driver=null-co,node-name=empty%d,size=16777216", i+1))
				}
				return honest(ctx, spec)
			}
		})
		if err == nil {
			l.Later(p.end)
		}
		return p, err
	})
}

func copyDisk(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(out.Truncate(info.Size()), copySparsely(out, in, 0), out.Close())
}

func pluggedIn(ctx context.Context, p *plugged) (Refusal, error) {
	skip := len(p.console.String())
	for _, device := range []map[string]string{
		{"driver": "virtio-blk-pci", "bus": "port1", "drive": "empty2"}, {"driver": "nvme", "bus": "port2", "drive": "empty3", "serial": "2"},
	} {
		if _, err := qemu.Ask(ctx, p.socket, "device_add", device); err != nil {
			return Refusal{}, err
		}
	}
	return p.refused(ctx, skip, tooLate, "empty2", "empty3")
}

// refused wants as many lines of the console as there are disks, and that
// nothing uses these from then on. QEMU counts, whatever its machine says.
func (p *plugged) refused(ctx context.Context, skip int, words string, disks ...string) (Refusal, error) {
	patient, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	said, err := p.console.awaitLine(patient, skip, words)
	for err == nil && strings.Count(p.console.String()[skip:], words) < len(disks) {
		if err = patient.Err(); err == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if err != nil {
		return Broke("the machine does not say of each disk that it refuses it: %v", err), nil
	}
	before := map[string]used{}
	for _, d := range disks {
		if before[d], err = p.uses(ctx, d); err != nil {
			return Refusal{}, err
		}
	}
	time.Sleep(time.Second)
	for _, d := range disks {
		after, err := p.uses(ctx, d)
		if err != nil {
			return Refusal{}, err
		}
		if after != before[d] || after.Writes > 0 {
			return Broke("%s; %s was used: %+v, and a second later %+v", said, d, before[d], after), nil
		}
	}
	_, said, _ = strings.Cut(said, "refused: ")
	return Refusal{Node, said}, nil
}

// used is how often a disk was.
type used struct {
	Reads  int `json:"rd_operations"`
	Writes int `json:"wr_operations"`
}

// uses is what QEMU counts of a disk, whatever its machine says.
func (p *plugged) uses(ctx context.Context, disk string) (used, error) {
	raw, err := qemu.Ask(ctx, p.socket, "query-blockstats", nil)
	if err != nil {
		return used{}, err
	}
	var disks []struct {
		Node  string `json:"node-name"`
		Stats used   `json:"stats"`
	}
	if err := json.Unmarshal(raw, &disks); err != nil {
		return used{}, err
	}
	for _, d := range disks {
		if d.Node == disk {
			return d.Stats, nil
		}
	}
	return used{}, fmt.Errorf("QEMU has no disk %s", disk)
}
