package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"holdfast/internal/api"
	"holdfast/internal/wiring"
)

// onMachine gives the flags by which a machine is more than its image.
func onMachine(fs *pflag.FlagSet, f *runFlags) {
	fs.StringVar(&f.ignition, "ignition", "", "Ignition or Butane config that the machine applies to itself first (measured: it is part of the configuration)")
	fs.StringVar(&f.filesDir, "files-dir", "", "folder of the files that \"local\" in a Butane config of --ignition names")
	fs.StringArrayVar(&f.disks, "disk", nil, "raw image of a disk that the machine may write; repeat for more: /dev/vdb, /dev/vdc, …")
	fs.StringVar(&f.kept, "machine", "", "folder that keeps the machine's TPM, so that it is the same machine the next time; made if absent")
	fs.StringArrayVar(&f.mounts, "mount", nil, "SOURCE:PATH[:ro]: a folder of the machine, below its /etc or /var, that the workload finds at PATH")
}

// parseIgnition reads the config as machines take it: Ignition, and nothing in
// it that no machine image can do.
func (a *app) parseIgnition(f *runFlags, r *wiring.Run) error {
	if f.ignition == "" {
		return nil
	}
	name, raw, err := a.readNodeConfig(f.ignition)
	if err == nil {
		r.Ignition, r.Machine, err = wiring.NodeConfig{Files: f.filesDir, Image: f.guest}.ForMachine(name, raw)
	}
	if err != nil {
		return fmt.Errorf("--ignition: %w", err)
	}
	return nil
}

// parseMounts reads SOURCE:PATH[:ro].
func parseMounts(words []string) ([]api.Mount, error) {
	var list []api.Mount
	for _, word := range words {
		parts := strings.Split(word, ":")
		if len(parts) == 3 && parts[2] == "ro" || len(parts) == 2 {
			list = append(list, api.Mount{Source: parts[0], Path: parts[1], ReadOnly: len(parts) == 3})
			continue
		}
		return nil, fmt.Errorf("--mount %.80q: want SOURCE:PATH or SOURCE:PATH:ro", word)
	}
	if err := (api.GuestConfig{Mounts: list}).CheckMounts(); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	return list, nil
}
