package api

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Mount is a folder of the machine, as its Ignition config makes it, that the
// workload finds at Path. It is mounted nosuid and nodev.
type Mount struct {
	Source   string `json:"source"` // at or below /etc or /var, or IdentityDir
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// CheckMounts refuses places that are not the machine's own to give, and those
// that something else is mounted on.
func (c GuestConfig) CheckMounts() error {
	seen := map[string]bool{}
	for _, t := range c.Tmpfs {
		seen[t.Path] = true
	}
	for _, m := range c.Mounts {
		if !isOwn(m.Source) {
			return fmt.Errorf("mount %.80q: want the absolute path of a folder of the machine, at or below /etc or /var, or "+IdentityDir, m.Source)
		}
		if err := (Tmpfs{Path: m.Path, Size: MinTmpfs}).Check(); err != nil {
			return fmt.Errorf("mount of %.80s: %w", m.Source, err)
		}
		if seen[m.Path] {
			return fmt.Errorf("mount %.80s: is there twice", m.Path)
		}
		seen[m.Path] = true
	}
	return nil
}

// mountsIdentity says whether the workload is to find the machine's certificate.
func (c GuestConfig) mountsIdentity() bool {
	return slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Source == IdentityDir })
}

func isOwn(place string) bool {
	return place == IdentityDir || path.IsAbs(place) && path.Clean(place) == place && !strings.ContainsRune(place, 0) &&
		(strings.HasPrefix(place+"/", "/etc/") || strings.HasPrefix(place+"/", "/var/"))
}
