package provision

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/units"
)

// checkUnits reads the units of a config as the machine will, before anything
// boots: what is outside the subset is told with its unit, line and directive.
func checkUnits(c types.Config) error {
	_, problems, err := units.LoadTree(unitFiles(c.Systemd.Units), units.Host{FirstBoot: true})
	if err != nil {
		return ignition.At(err, "$.systemd.units")
	}
	for _, p := range problems {
		if p.Warning {
			continue
		}
		i := slices.IndexFunc(c.Systemd.Units, func(u types.Unit) bool { return u.Name == p.Unit })
		if i < 0 {
			return ignition.At(p, "$.systemd.units")
		}
		return ignition.At(p, "$.systemd.units[%d]", i)
	}
	return checkEnabled(c.Systemd.Units)
}

// checkEnabled wants an [Install] of what is enabled: else nothing would start
// it, and nobody would be told.
func checkEnabled(list []types.Unit) error {
	for i, u := range list {
		if util.IsTrue(u.Enabled) && util.NotEmpty(u.Contents) && !strings.Contains(*u.Contents, "[Install]") {
			return ignition.At(errors.New("is enabled and has no [Install]: nothing would start it"), "$.systemd.units[%d]", i)
		}
	}
	return nil
}

const unitDir = "/etc/systemd/system"

// unitFiles are what stage files makes of the units.
func unitFiles(list []types.Unit) units.Files {
	f := units.Files{Contents: map[string][]byte{}, Links: map[string]string{}}
	var presets strings.Builder
	for _, u := range list {
		at := path.Join(unitDir, u.Name)
		if util.NotEmpty(u.Contents) {
			f.Contents[at] = []byte(*u.Contents)
		}
		for _, d := range u.Dropins {
			if d.Contents != nil {
				f.Contents[path.Join(at+".d", d.Name)] = []byte(*d.Contents)
			}
		}
		if util.IsTrue(u.Mask) {
			f.Links[at] = "/dev/null"
		}
		if u.Enabled != nil {
			fmt.Fprintf(&presets, "%s %s\n", map[bool]string{true: "enable", false: "disable"}[*u.Enabled], presetName(u.Name))
		}
	}
	f.Contents["/etc/systemd/system-preset/20-ignition.preset"] = []byte(presets.String())
	return f
}

// presetName names an instance behind its template (systemd.preset(5)).
func presetName(name string) string {
	before, after, ok := strings.Cut(name, "@")
	dot := strings.LastIndexByte(after, '.')
	if !ok || dot <= 0 {
		return name
	}
	return before + "@" + after[dot:] + " " + after[:dot]
}
