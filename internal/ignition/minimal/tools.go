package minimal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// A Recipe is what the recipe of a machine image names of what disks need.
type Recipe struct{ Packages, Modules []string }

// Stock is that of images/machine.
var Stock = Recipe{
	Packages: []string{"cryptsetup-bin", "mdadm", "e2fsprogs", "dosfstools"},
	Modules:  []string{"dm-crypt", "raid0", "raid1", "ext4", "vfat"},
}

// A need is a program, Debian's package that has it, and a module; what is
// empty is not needed.
type need struct{ what, program, packaged, module string }

var formats = map[string]need{
	"ext4":  {"ext4", "mkfs.ext4", "e2fsprogs", "ext4"},
	"xfs":   {"xfs", "mkfs.xfs", "xfsprogs", "xfs"},
	"btrfs": {"btrfs", "mkfs.btrfs", "btrfs-progs", "btrfs"},
	"vfat":  {"vfat", "mkfs.fat", "dosfstools", "vfat"},
	"swap":  {"swap", "mkswap", "util-linux", ""},
}

// levels are mdadm(8)'s words for them.
var levels = map[string]string{"linear": "linear", "raid0": "raid0", "0": "raid0", "stripe": "raid0", "raid1": "raid1", "1": "raid1", "mirror": "raid1",
	"raid4": "raid456", "4": "raid456", "raid5": "raid456", "5": "raid456", "raid6": "raid456", "6": "raid456", "raid10": "raid10", "10": "raid10"}

// tools are those that the image's recipe lacks: an error where the recipe is
// known, since the machine would refuse its config at its first boot.
func (c Check) tools(config types.Config) (list []Issue) {
	has := Stock
	if c.Recipe != nil {
		has = *c.Recipe
	}
	ask := func(n need, path ...any) {
		if lacks := has.lacks(n); lacks != "" {
			list = append(list, Issue{Path: path, Warning: c.Recipe == nil, Problem: lacks})
		}
	}
	for i, f := range config.Storage.Filesystems {
		if f.Format != nil {
			ask(formats[*f.Format], "storage", "filesystems", i, "format")
		}
	}
	for i, r := range config.Storage.Raid {
		if r.Level != nil {
			ask(need{*r.Level, "mdadm", "mdadm", levels[*r.Level]}, "storage", "raid", i, "level")
		}
	}
	for i := range config.Storage.Luks {
		ask(need{"LUKS", "cryptsetup", "cryptsetup-bin", "dm-crypt"}, "storage", "luks", i)
	}
	return list
}

// lacks says what a recipe would have to add.
func (r Recipe) lacks(n need) string {
	var adds []string
	if n.packaged != "" && !slices.Contains(r.Packages, n.packaged) {
		adds = append(adds, fmt.Sprintf("the package %s (%s)", n.packaged, n.program))
	}
	if n.module != "" && !slices.ContainsFunc(r.Modules, func(m string) bool { return plainly(m) == plainly(n.module) }) {
		adds = append(adds, "the module "+n.module)
	}
	if len(adds) == 0 {
		return ""
	}
	return fmt.Sprintf("the machine image has no %s: its recipe would have to add %s", n.what, strings.Join(adds, " and "))
}

// plainly: the kernel takes a dash in a module's name for an underscore.
func plainly(module string) string { return strings.ReplaceAll(module, "-", "_") }
