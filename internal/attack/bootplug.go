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

// A plugged machine is a victim whose host gave it a second disk, a copy of its
// own, and has another at hand for while it runs.
type plugged struct {
	*victim
	socket string // of QEMU's monitor
}

func plugAttacks() []Attack {
	const promise = "a machine that runs a workload has the disk of its root and no other"
	one := func(name, change string, want Refusal, run func(context.Context, *plugged) (Refusal, error)) Attack {
		return Attack{Name: name, Group: "disk", Promise: promise, Change: change, Boots: true, Want: want, Control: victimControl,
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
		one("second-disk", "the host starts the machine with a second disk, which has the same partitions", Refusal{Node, "is not this machine's: it is detached"}, added),
		one("plugged-disk", "the host plugs in a disk while the workload runs", Refusal{Node, "came too late: no driver is given to it"}, pluggedIn),
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
				spec.Extra = append(spec.Extra, "-qmp", "unix:"+p.socket+",server=on,wait=off", "-device", "pcie-root-port,id=hot,chassis=1",
					"-blockdev", "driver=file,node-name=second,filename="+disk, "-device", "virtio-blk-pci,id=second,drive=second",
					"-blockdev", "driver=null-co,node-name=third,size=16777216")
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

func added(ctx context.Context, p *plugged) (Refusal, error) {
	said, err := p.says(ctx, "is not this machine's: it is detached")
	if err != nil {
		return Broke("the machine does not say that it refuses the disk: %v", err), nil
	}
	uses, err := p.uses(ctx, "second")
	if err != nil {
		return Refusal{}, err
	}
	time.Sleep(time.Second)
	later, err := p.uses(ctx, "second")
	if err == nil && (uses.Writes > 0 || later != uses) {
		return Broke("%s; it was used: %+v, a second later %+v", said, uses, later), nil
	}
	return Refusal{Node, said}, err
}

func pluggedIn(ctx context.Context, p *plugged) (Refusal, error) {
	if _, err := qemu.Ask(ctx, p.socket, "device_add", map[string]string{"driver": "virtio-blk-pci", "bus": "hot", "id": "third", "drive": "third"}); err != nil {
		return Refusal{}, err
	}
	said, err := p.says(ctx, "came too late: no driver is given to it")
	if err != nil {
		return Broke("the machine does not say that it refuses the disk: %v", err), nil
	}
	time.Sleep(time.Second)
	uses, err := p.uses(ctx, "third")
	if err == nil && uses != (used{}) {
		return Broke("%s; it was used: %+v", said, uses), nil
	}
	return Refusal{Node, said}, err
}

func (p *plugged) says(ctx context.Context, words string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	line, err := p.console.awaitLine(ctx, 0, words)
	_, said, _ := strings.Cut(line, "refused: ")
	return said, err
}

// used is how often a disk was.
type used struct {
	Reads  int `json:"rd_operations"`
	Writes int `json:"wr_operations"`
}

// uses is what QEMU counts of a disk, whatever its machine says.
func (p *plugged) uses(ctx context.Context, id string) (used, error) {
	raw, err := qemu.Ask(ctx, p.socket, "query-blockstats", nil)
	if err != nil {
		return used{}, err
	}
	var disks []struct {
		Device string `json:"qdev"`
		Stats  used   `json:"stats"`
	}
	if err := json.Unmarshal(raw, &disks); err != nil {
		return used{}, err
	}
	for _, d := range disks {
		if strings.Contains(d.Device, "/"+id+"/") {
			return d.Stats, nil
		}
	}
	return used{}, fmt.Errorf("QEMU has no disk %s: %s", id, raw)
}
