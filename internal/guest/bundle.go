package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
)

// memoryReserve is what the machine keeps for itself when the workload takes
// all it may. Where memory can be compressed, so much is made free for a
// workload whose image fills the machine.
const (
	memoryReserve  = 48 << 20
	memoryMadeFree = 64 << 20
)

// writeBundle adds runc's config.json, and the files that the container gets
// from the guest, to a bundle that has its rootfs.
func (g *guest) writeBundle(b *bundle, secrets map[string][]byte) error {
	t, err := openTree(b.path("rootfs"))
	if err != nil {
		return err
	}
	defer t.Close()
	s := spec{image: g.image.config.Config, process: g.Guest.Process, tmpfs: g.Guest.Tmpfs, mounts: g.Guest.Mounts, unsealed: g.unsealed, cgroup: g.cgroup(), drop: g.drop}
	if s.user, err = lookUp(t, or(s.process.User, s.image.User)); err != nil {
		return err
	}
	if g.nonRoot && s.user.uid == 0 {
		return errors.New("it would run as root, which the configuration forbids")
	}
	if _, err := t.folder(s.cwd(), true); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	if s.hostname, err = hostname(s.process.Hostname); err != nil {
		return err
	}
	if s.memory, err = g.memory(); err != nil {
		return err
	}
	if s.binds, err = g.writeFiles(b, s, secrets); err != nil {
		return err
	}
	if err := prepareTmpfs(t, s.tmpfs); err != nil {
		return err
	}
	if err := prepareMounts(t, s.mounts); err != nil {
		return err
	}
	if s.volumes, err = writableVolumes(t, s); err != nil {
		return err
	}
	if s.masked, err = realFolders("/sys/class/tpm*/*"); err != nil {
		return err
	}
	if s.binds, err = g.share(t, s.binds); err != nil {
		return err
	}
	if s.binds, err = g.lastWords(b, s.binds); err != nil {
		return err
	}
	config, err := s.build()
	if err != nil {
		return err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(b.path("config.json"), text, 0o600)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func hostname(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	return os.Hostname()
}

// prepareTmpfs gives the folders that are mounted over the mounts' modes: runc
// gives a tmpfs the mode of the folder that it finds (libcontainer, mountToRootfs).
func prepareTmpfs(t *tree, list []api.Tmpfs) error {
	for _, m := range list {
		fd, err := t.folder(m.Path, true)
		if err != nil {
			return fmt.Errorf("tmpfs: %w", err)
		}
		mode, err := strconv.ParseUint(or(m.Mode, usualMode), 8, 12)
		if err != nil {
			return fmt.Errorf("tmpfs %s: mode: %w", m.Path, err)
		}
		if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(mode)); err != nil {
			return fmt.Errorf("tmpfs %s: set mode: %w", m.Path, err)
		}
	}
	return nil
}

// prepareMounts sees that the machine's folders are there, and makes the places
// that they are seen at.
func prepareMounts(t *tree, list []api.Mount) error {
	for _, m := range list {
		if info, err := os.Lstat(m.Source); err != nil {
			return fmt.Errorf("mount: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("mount: %s is no folder", m.Source)
		}
		if _, err := t.folder(m.Path, true); err != nil {
			return fmt.Errorf("mount of %s: %w", m.Source, err)
		}
	}
	return nil
}

// usualMode lets every user of the workload make files, and delete their own.
const usualMode = "1777"

// writableVolumes binds the volumes that the image declares onto themselves
// when the root is read only. Otherwise they are folders as any other: all of
// the root is memory of this run.
func writableVolumes(t *tree, s spec) ([]specs.Mount, error) {
	if !s.process.ReadOnly {
		return nil, nil
	}
	var mounts []specs.Mount
	for _, volume := range slices.Sorted(maps.Keys(s.image.Volumes)) {
		at := clean(volume)
		if (api.Tmpfs{Path: at, Size: api.MinTmpfs}).Check() != nil {
			continue // a place that the machine fills itself
		}
		fd, err := t.folder(at, true)
		if err != nil {
			return nil, fmt.Errorf("volume: %w", err)
		}
		real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return nil, fmt.Errorf("volume: %w", err)
		}
		mounts = append(mounts, bind(real, at))
	}
	return mounts, nil
}

// realFolders finds where sysfs has the devices of a class: TPMs show the
// values of their PCRs there.
func realFolders(pattern string) ([]string, error) {
	links, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var real []string
	for _, link := range links {
		folder, err := filepath.EvalSymlinks(link)
		if err != nil {
			return nil, err
		}
		real = append(real, folder)
	}
	return real, nil
}

// writeFiles makes the files that are bound into the container.
func (g *guest) writeFiles(b *bundle, s spec, secrets map[string][]byte) ([]specs.Mount, error) {
	resolver, err := os.ReadFile(g.Resolver)
	if err != nil {
		return nil, err
	}
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t%s\n", s.hostname)
	dir := b.path("etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	var mounts []specs.Mount
	for name, content := range map[string]string{"resolv.conf": string(resolver), "hosts": hosts, "hostname": s.hostname + "\n"} {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
		mounts = append(mounts, bind(filepath.Join(dir, name), "/etc/"+name))
	}
	if len(secrets) == 0 {
		return mounts, nil
	}
	at := b.path("secrets")
	return append(mounts, bind(at, "/run/secrets", "ro", "noexec")), writeSecrets(at, s.user, secrets)
}

func bind(from, to string, options ...string) specs.Mount {
	return specs.Mount{Destination: to, Type: "bind", Source: from, Options: append([]string{"bind", "nosuid", "nodev"}, options...)}
}

// writeSecrets writes files that only the workload's user reads. The folder
// is in memory, as all of the bundle.
func writeSecrets(dir string, u user, secrets map[string][]byte) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, content := range secrets {
		path := filepath.Join(dir, name)
		if err := atomicfile.WriteFile(path, content, 0o400); err != nil {
			return err
		}
		if err := os.Chown(path, int(u.uid), int(u.gid)); err != nil {
			return err
		}
	}
	return nil
}

// availableMemory is what the workload may take: all that is left now, save a
// reserve. Beyond it the kernel kills in the workload's cgroup, and says so.
func availableMemory() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	available, err := kib(text, "MemAvailable:")
	if err != nil {
		return 0, err
	}
	if swap, err := kib(text, "SwapTotal:"); err == nil && swap > 0 {
		return max(available-memoryReserve, memoryMadeFree), nil
	}
	if available <= 2*memoryReserve {
		return 0, fmt.Errorf("%d KiB of memory are left: give the machine more", available>>10)
	}
	return available - memoryReserve, nil
}

// kib finds a value of /proc/meminfo, in bytes.
func kib(text []byte, name string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, unix.ENOENT
}
