package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
)

// A shared is a volume of the pod's in one container.
type shared struct {
	dir string // where the machine has it
	api.VolumeMount
}

// makeVolumes makes those of the pod; open opens what is sealed in them.
func (p *pod) makeVolumes(open func(text string) ([]byte, error)) error {
	for _, v := range p.Guest.Pod.Volumes {
		v.Files = slices.Clone(v.Files) // the configuration stays as it was measured
		for i, f := range v.Files {
			if f.Sealed == "" {
				continue
			}
			content, err := open(f.Sealed)
			if err != nil {
				return &Refusal{"secrets", fmt.Errorf("volume %s: %s: %w", v.Name, f.Name, err)}
			}
			v.Files[i].Content = content
		}
		if err := makeVolume(p.volume(v.Name), v); err != nil {
			return &Refusal{"run", err}
		}
	}
	return nil
}

// makeVolume mounts memory at dir and puts the files into it.
func makeVolume(dir string, v api.Volume) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=0777,size=%d", v.Size)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return fmt.Errorf("volume %s: mount: %w", v.Name, err)
	}
	return writeVolume(dir, v)
}

// writeVolume writes the files; their names were checked to lie below dir, and no
// container has seen it yet.
func writeVolume(dir string, v api.Volume) error {
	for _, f := range v.Files {
		at := filepath.Join(dir, f.Name)
		mode, err := strconv.ParseUint(or(f.Mode, "0644"), 8, 12)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(at), 0o755)
		}
		if err == nil {
			err = atomicfile.WriteFile(at, f.Content, os.FileMode(mode))
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// share adds the pod's volumes to what is bound into the container.
func (g *guest) share(t *tree, binds []specs.Mount) ([]specs.Mount, error) {
	for _, v := range g.shared {
		if _, err := t.folder(v.Path, true); err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		if v.ReadOnly {
			binds = append(binds, bind(v.dir, v.Path, "ro"))
		} else {
			binds = append(binds, bind(v.dir, v.Path))
		}
	}
	return binds, nil
}

// memory is what the container may take. A limit of its own holds without swap, as
// Kubernetes has it: compressed, a container's pages would be memory of the others.
func (g *guest) memory() (*specs.LinuxMemory, error) {
	available, err := availableMemory()
	if g.limit <= 0 || err != nil {
		return &specs.LinuxMemory{Limit: &available}, err
	}
	limit := min(available, g.limit)
	return &specs.LinuxMemory{Limit: &limit, Swap: &limit}, nil // Swap counts both (runtime-spec, config-linux)
}
