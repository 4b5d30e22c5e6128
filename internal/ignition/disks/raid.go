package disks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/probe"
)

func (s *stage) raids(ctx context.Context, c types.Config) error {
	for i, r := range c.Storage.Raid {
		for _, d := range r.Devices {
			if err := s.await(ctx, string(d)); err != nil {
				return ignition.At(err, "$.storage.raid[%d]", i)
			}
		}
	}
	for i, r := range c.Storage.Raid {
		if err := s.raid(ctx, r); err != nil {
			return ignition.At(fmt.Errorf("array %s: %w", r.Name, err), "$.storage.raid[%d]", i)
		}
	}
	return nil
}

// raid makes an array unless its members are already those of one with this
// name, which then only has to run. There is no wipe for arrays in the
// config's language: members that have something else are refused, unless
// they are partitions that this run has made. Upstream would overwrite them.
func (s *stage) raid(ctx context.Context, r types.Raid) error {
	members, err := s.members(r)
	if err != nil {
		return err
	}
	command := Command{Name: "mdadm", Args: s.raidArgs(r)}
	if members == len(r.Devices) {
		s.Log.Info("array exists", "name", r.Name)
		if isRunning(arrayPath(r.Name)) {
			return nil
		}
		command.Args = append([]string{"--assemble", arrayPath(r.Name), "--run"}, s.aliases(r)...)
	}
	if _, err := s.Exec(ctx, command); err != nil {
		return err
	}
	_, err = s.wait(ctx, arrayPath(r.Name))
	return err
}

// isRunning is false for the node that a stopped array leaves behind.
func isRunning(path string) bool {
	d, err := openDevice(path, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer d.Close()
	return true
}

// members counts devices that are of this array already, and refuses what is
// on others.
func (s *stage) members(r types.Raid) (int, error) {
	return Members(r, func(dev string) (probe.Found, bool, error) {
		found, err := s.look(s.alias(dev))
		return found, s.isCreated(s.alias(dev)), err
	})
}

// Members counts the devices that are an array's already. It is ErrOther where
// one has something else, or only some are: but for those that this config has
// just made, whatever lies there.
func Members(r types.Raid, look func(dev string) (found probe.Found, created bool, err error)) (int, error) {
	var id string
	n := 0
	for _, d := range r.Devices {
		found, created, err := look(string(d))
		if err != nil {
			return 0, err
		}
		switch {
		case found.Type == "" || created:
		case found.Type == "linux_raid_member" && arrayName(found.Label) == filepath.Base(r.Name) && (id == "" || id == found.UUID):
			id = found.UUID
			n++
		default:
			return 0, fmt.Errorf("%s: %w: %s, label %q", d, ErrOther, found.Type, found.Label)
		}
	}
	if n > 0 && n < len(r.Devices) {
		return 0, fmt.Errorf("%d of %d devices are members already: %w", n, len(r.Devices), ErrOther)
	}
	return n, nil
}

// arrayName is a member's without the home that mdadm puts before it.
func arrayName(label string) string {
	return label[strings.LastIndexByte(label, ':')+1:]
}

func (s *stage) isCreated(dev string) bool {
	target, err := filepath.EvalSymlinks(dev)
	return err == nil && s.created[target]
}

func (s *stage) raidArgs(r types.Raid) []string {
	spares := 0
	if r.Spares != nil {
		spares = *r.Spares
	}
	args := []string{"--create", r.Name, "--force", "--run", "--homehost", "any",
		"--level", text(r.Level), "--raid-devices", strconv.Itoa(len(r.Devices) - spares)}
	if spares > 0 {
		args = append(args, "--spare-devices", strconv.Itoa(spares))
	}
	for _, o := range r.Options {
		args = append(args, string(o))
	}
	return append(args, s.aliases(r)...)
}

func (s *stage) aliases(r types.Raid) []string {
	var list []string
	for _, d := range r.Devices {
		list = append(list, s.alias(string(d)))
	}
	return list
}

func arrayPath(name string) string {
	if strings.HasPrefix(name, "/dev") {
		return name
	}
	return "/dev/md/" + name
}
