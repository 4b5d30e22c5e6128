package guest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/internal/api"
)

// defaultPath is what an image without a PATH gets.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A spec is what runc's config.json is made of.
type spec struct {
	image    v1.ImageConfig
	process  api.Process
	user     user
	hostname string
	memory   *specs.LinuxMemory
	binds    []specs.Mount // files of the guest's
	volumes  []specs.Mount // the image's, where the root is read only
	tmpfs    []api.Tmpfs
	mounts   []api.Mount       // of the machine's folders
	masked   []string          // paths beyond maskedPaths
	unsealed map[string]string // values of variables, by name
	cgroup   string
	drop     []string // capabilities, without CAP_
}

// build gives the capabilities and mounts of the usual engines' default, a
// filter of system calls, and no leave to gain privileges. The network namespace is the machine's: the machine is
// there for this workload alone.
func (s spec) build() (*specs.Spec, error) {
	args := s.args()
	if len(args) == 0 {
		return nil, errors.New("neither image nor configuration says what to run")
	}
	return &specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: "rootfs", Readonly: s.process.ReadOnly},
		Hostname: s.hostname,
		Process: &specs.Process{
			User:            specs.User{UID: s.user.uid, GID: s.user.gid, AdditionalGids: s.user.groups},
			Args:            args,
			Env:             s.env(),
			Cwd:             s.cwd(),
			Terminal:        s.process.Terminal,
			Capabilities:    s.capabilities(),
			NoNewPrivileges: true,
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1 << 20, Soft: 1 << 20}},
		},
		Mounts: slices.Concat(kernelMounts(), s.volumes, s.tmpfsMounts(), s.machineMounts(), s.binds),
		Linux: &specs.Linux{
			CgroupsPath:   s.cgroup,
			Resources:     &specs.LinuxResources{Memory: s.memory, Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}},
			Namespaces:    []specs.LinuxNamespace{{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"}},
			Seccomp:       seccomp(),
			MaskedPaths:   append(s.masked, maskedPaths...),
			ReadonlyPaths: readonlyPaths,
		},
	}, nil
}

// args are entrypoint and arguments, each as the configuration overrides it.
// A new entrypoint drops the image's arguments, as docker run does.
func (s spec) args() []string {
	entrypoint, args := s.image.Entrypoint, s.image.Cmd
	if len(s.process.Entrypoint) > 0 {
		entrypoint, args = s.process.Entrypoint, nil
	}
	if len(s.process.Args) > 0 {
		args = s.process.Args
	}
	return append(append([]string(nil), entrypoint...), args...)
}

// env lets the configuration's variables replace the image's.
func (s spec) env() []string {
	home := s.user.home
	if home == "" {
		home = "/"
	}
	var env []string
	index := make(map[string]int)
	all := append([]string{defaultPath, "HOME=" + home, "HOSTNAME=" + s.hostname}, s.image.Env...)
	for _, v := range append(all, s.process.Env...) {
		name, _, _ := strings.Cut(v, "=")
		if secret, ok := s.unsealed[name]; ok {
			v = name + "=" + secret
		}
		if i, ok := index[name]; ok {
			env[i] = v
			continue
		}
		index[name] = len(env)
		env = append(env, v)
	}
	if s.process.Terminal {
		env = withTerm(env)
	}
	return env
}

func (s spec) cwd() string { return path.Clean("/" + or(s.process.Workdir, s.image.WorkingDir)) }

// tmpfsMounts come in the order of their paths, so that one may lie in another.
func (s spec) tmpfsMounts() []specs.Mount {
	var mounts []specs.Mount
	for _, t := range s.tmpfs {
		options := []string{"nosuid", "nodev", "mode=" + or(t.Mode, usualMode), fmt.Sprintf("size=%d", t.Size)}
		if t.NoExec {
			options = append(options, "noexec")
		}
		mounts = append(mounts, specs.Mount{Destination: t.Path, Type: "tmpfs", Source: "tmpfs", Options: options})
	}
	slices.SortFunc(mounts, func(a, b specs.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return mounts
}

// machineMounts come in the order of their paths, as those of memory. What is
// mounted below them is seen, too, and is held to the same.
func (s spec) machineMounts() []specs.Mount {
	var mounts []specs.Mount
	for _, m := range s.mounts {
		options := []string{"rbind", "rnosuid", "rnodev"}
		if m.ReadOnly {
			options = append(options, "rro")
		}
		mounts = append(mounts, specs.Mount{Destination: m.Path, Type: "bind", Source: m.Source, Options: options})
	}
	slices.SortFunc(mounts, func(a, b specs.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return mounts
}

// capabilities are podman's default set: docker's without CAP_NET_RAW, whose
// packets no rule of egress sees, CAP_MKNOD and CAP_AUDIT_WRITE. The kernel takes them
// from whoever is not root when the program is executed.
func (s spec) capabilities() *specs.LinuxCapabilities {
	kept := slices.DeleteFunc(slices.Clone(capabilities), func(name string) bool {
		return slices.Contains(s.drop, "ALL") || slices.Contains(s.drop, strings.TrimPrefix(name, "CAP_"))
	})
	c := &specs.LinuxCapabilities{Bounding: kept}
	if s.user.uid == 0 {
		c.Effective, c.Permitted = kept, kept
	}
	return c
}

var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
	"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

func kernelMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}
