package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A Pod is what a machine runs instead of one Image: containers that share its
// network, each only as it is written here. What the host says when it asks for
// one is held against this, and never used.
type Pod struct {
	Volumes    []Volume    `json:"volumes,omitempty"`
	Containers []Container `json:"containers"` // those that initialise first, in their order
}

// A Volume is memory of the machine that several containers may share, empty or
// with files that are part of the measured configuration.
type Volume struct {
	Name  string       `json:"name"`
	Size  int64        `json:"size"` // bytes that it may hold
	Files []VolumeFile `json:"files,omitempty"`
}

// A VolumeFile is public, as all of a configuration is.
type VolumeFile struct {
	Name    string `json:"name"` // a path below the volume
	Content []byte `json:"content,omitempty"`
	Mode    string `json:"mode,omitempty"` // octal; empty: 0644
	// Sealed is a sealed secret, of which the file has what it stands for, instead of Content.
	Sealed string `json:"sealed,omitempty"`
}

// A Container is one of a Pod.
type Container struct {
	Name    string        `json:"name"`
	Image   string        `json:"image"`          // HOST:PORT/REPOSITORY@sha256:…
	Init    bool          `json:"init,omitempty"` // ends well before the next begins
	Process Process       `json:"process"`
	Secrets []SecretRef   `json:"secrets,omitempty"`
	Tmpfs   []Tmpfs       `json:"tmpfs,omitempty"`
	Volumes []VolumeMount `json:"volumes,omitempty"`
	Memory  int64         `json:"memory,omitempty"` // bytes; 0: what the machine has
	// Drop are capabilities, as "NET_BIND_SERVICE", that it does without; "ALL" of them.
	Drop []string `json:"drop,omitempty"`
	// NonRoot refuses to run as user 0, whoever says so.
	NonRoot bool `json:"non_root,omitempty"`
	// Streams lists what the host may have of its standard streams: "logs", which
	// is all output, and "stdin".
	Streams []string `json:"streams,omitempty"`
	// Message is a file in the container of which the host has the first MaxMessage bytes
	// once the container has ended; empty: there is none.
	Message string `json:"message,omitempty"`
	// Exec are the commands that the host may start in it.
	Exec []Command `json:"exec,omitempty"`
}

// A VolumeMount is a volume's place in a container.
type VolumeMount struct {
	Name     string `json:"name"` // of the volume
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// The streams that a container may give its host.
const (
	StreamLogs  = "logs"
	StreamInput = "stdin"
)

// The calls that a machine with a pod takes beside status, goodbye and stop. Each
// names a container.
const (
	CallCreate = "create" // params CreateParams: pull, verify and unpack; replies CreateDetail
	CallStart  = "start"  // params ContainerParams
	CallKill   = "kill"   // params KillParams
	CallDelete = "delete" // params ContainerParams: of one that ended, or never began
	CallStats  = "stats"  // params ContainerParams; replies StatsDetail
)

// PodCalls are always allowed where there is a pod; each is checked further.
var PodCalls = []string{CallCreate, CallStart, CallKill, CallDelete, CallStats, CallExec, CallResize, CallStop}

// The events of a pod's machine. Its EventStarted says that it takes calls.
const EventContainerExited = "container-exited" // detail ContainerExit

// CreateParams say what the host believes a container to be.
type CreateParams struct {
	Container string   `json:"container"`
	Image     string   `json:"image,omitempty"` // sha256:…
	Args      []string `json:"args,omitempty"`
	Env       []string `json:"env,omitempty"`
	Workdir   string   `json:"workdir,omitempty"`
	Mounts    []string `json:"mounts,omitempty"` // paths in the container
	Terminal  bool     `json:"terminal,omitempty"`
}

// CreateDetail tells which streams the container has: First is its input, the
// two behind are its output. Streams that the configuration keeps from the host
// carry nothing.
type CreateDetail struct {
	First   byte   `json:"first"`
	Message string `json:"message,omitempty"` // of the Container
}

// ContainerParams name a container, or a command in it.
type ContainerParams struct {
	Container string `json:"container"`
	Exec      uint64 `json:"exec,omitempty"` // as ExecDetail has it; 0: the container
}

// KillParams send a signal to the first process.
type KillParams struct {
	ContainerParams
	Signal int `json:"signal"`
}

// ContainerExit is how a container, or a command in it, ended.
type ContainerExit struct {
	ContainerParams
	ExitDetail
	Message string `json:"message,omitempty"` // what the container left there
}

// StatsDetail is what a container uses, by its control group.
type StatsDetail struct {
	MemoryBytes   uint64 `json:"memory_bytes"`
	InactiveBytes uint64 `json:"inactive_bytes"`         // of those, file pages that are not in use
	MemoryLimit   uint64 `json:"memory_limit,omitempty"` // 0: none
	CPUMicros     uint64 `json:"cpu_us"`
	Processes     uint64 `json:"processes"`
}

// A PodCall is a Call of the host's on its way to whoever runs the pod, who calls
// Answer once.
type PodCall struct {
	Name   string
	Params json.RawMessage
	Answer func(detail any, err error)
}

// MaxMessage is how much a host gets of a Container's Message, as Kubernetes has it
// (core/v1, terminationMessagePath).
const MaxMessage = 4096

// usualMessage is Kubernetes', a file where a machine keeps devices.
const usualMessage = "/dev/termination-log"

// MaxContainers is how many a pod may have: a frame's stream is one byte.
const MaxContainers = 64

// StreamEnd closes: the machine's pod has ended, and all output was sent.
const StreamEnd = 255

// FirstStream is the stream of the input of a pod's i-th container. Commands have the
// places behind the last container's.
func FirstStream(i int) byte { return byte(4 * i) }

// nameForm is RFC 1123's label, as Kubernetes names containers and volumes.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// capabilityForm is a capability without its CAP_.
var capabilityForm = regexp.MustCompile(`^[A-Z][A-Z_]*$`)

// Container finds one by its name, and its place.
func (p *Pod) Container(name string) (c Container, i int, ok bool) {
	i = slices.IndexFunc(p.Containers, func(c Container) bool { return c.Name == name })
	if i < 0 {
		return c, i, false
	}
	return p.Containers[i], i, true
}

// Images are what the configuration has the machine run, in its order.
func (c GuestConfig) Images() []string {
	if c.Pod == nil {
		return []string{c.Image}
	}
	var all []string
	for _, one := range c.Pod.Containers {
		all = append(all, one.Image)
	}
	return all
}

// Check refuses what a machine would not do as it is written.
func (p *Pod) Check() error {
	if n := len(p.Containers); n == 0 || n > MaxContainers {
		return fmt.Errorf("pod of %d containers: want 1 to %d", n, MaxContainers)
	}
	volumes := map[string]bool{}
	for _, v := range p.Volumes {
		if volumes[v.Name] {
			return fmt.Errorf("volume %.80s: is there twice", v.Name)
		}
		volumes[v.Name] = true
		if err := v.check(); err != nil {
			return err
		}
	}
	seen, begun := map[string]bool{}, false
	for _, c := range p.Containers {
		switch {
		case !nameForm.MatchString(c.Name):
			return fmt.Errorf("container %.80q: want a name of lower-case letters, digits and inner hyphens", c.Name)
		case seen[c.Name]:
			return fmt.Errorf("container %s: is there twice", c.Name)
		case c.Init && begun:
			return fmt.Errorf("container %s: initialises, but comes after one that does not", c.Name)
		}
		seen[c.Name], begun = true, !c.Init
		if err := c.check(volumes); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	return nil
}

func (v Volume) check() error {
	if !nameForm.MatchString(v.Name) {
		return fmt.Errorf("volume %.80q: want a name of lower-case letters, digits and inner hyphens", v.Name)
	}
	if v.Size < MinTmpfs || v.Size > MaxTmpfs {
		return fmt.Errorf("volume %s: size of %d bytes: want %d to %d", v.Name, v.Size, MinTmpfs, int64(MaxTmpfs))
	}
	seen := map[string]bool{}
	for _, f := range v.Files {
		if f.Name == "" || !isBelow(f.Name) || seen[f.Name] {
			return fmt.Errorf("volume %s: file %.80q: want a clean relative path, once", v.Name, f.Name)
		}
		if f.Mode != "" && !modeForm.MatchString(f.Mode) {
			return fmt.Errorf("volume %s: file %.80q: mode %.20q: want octal digits, as 0644", v.Name, f.Name, f.Mode)
		}
		if f.Sealed != "" && len(f.Content) > 0 {
			return fmt.Errorf("volume %s: file %.80q: want content or a sealed secret", v.Name, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

// isBelow says whether a path, once joined to a folder, names something in it.
func isBelow(name string) bool {
	return !path.IsAbs(name) && path.Clean(name) == name && name != "." && name != ".." &&
		!strings.HasPrefix(name, "../") && !strings.ContainsRune(name, 0)
}

func (c Container) check(volumes map[string]bool) error {
	places := map[string]bool{}
	for _, t := range c.Tmpfs {
		if places[t.Path] {
			return fmt.Errorf("tmpfs %.80s: is there twice", t.Path)
		}
		places[t.Path] = true
		if err := t.Check(); err != nil {
			return err
		}
	}
	for _, m := range c.Volumes {
		if !volumes[m.Name] {
			return fmt.Errorf("volume %.80q: the pod has none of that name", m.Name)
		}
		if err := (Tmpfs{Path: m.Path, Size: MinTmpfs}).Check(); err != nil {
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
		if places[m.Path] {
			return fmt.Errorf("volume %s: something else is at %.80s", m.Name, m.Path)
		}
		places[m.Path] = true
	}
	if len(c.Exec) > maxCommands {
		return fmt.Errorf("%d commands that may be started: want at most %d", len(c.Exec), maxCommands)
	}
	for _, e := range c.Exec {
		if err := e.check(); err != nil {
			return err
		}
	}
	if c.Message != "" && c.Message != usualMessage {
		if err := (Tmpfs{Path: c.Message, Size: MinTmpfs}).Check(); err != nil {
			return fmt.Errorf("message: %w", err)
		}
	}
	switch {
	case c.Message != "" && places[c.Message]:
		return fmt.Errorf("message: something else is at %.80s", c.Message)
	case c.Image == "":
		return errors.New("names no image")
	case slices.ContainsFunc(c.Drop, func(name string) bool { return !capabilityForm.MatchString(name) }):
		return fmt.Errorf("drop %.200q: want names of capabilities, as NET_BIND_SERVICE, or ALL", c.Drop)
	case c.Memory < 0:
		return fmt.Errorf("memory of %d bytes: want 0 or more", c.Memory)
	}
	return errors.Join(checkStreams(c.Streams), checkSecrets(c.Secrets), c.Process.Check())
}

// checkPod refuses a configuration that says twice what to run.
func (c GuestConfig) checkPod() error {
	if c.Pod == nil {
		return nil
	}
	if c.Image != "" || len(c.Secrets) > 0 || len(c.Tmpfs) > 0 || len(c.Mounts) > 0 || len(c.API) > 0 || len(c.Control) > 0 || !c.Process.isZero() {
		return errors.New("with a pod there is no image, process, secret, tmpfs, mount, api or control of the machine's")
	}
	if !c.MachineConfig.IsZero() {
		return errors.New("with a pod there is no identity, update, cluster, config_key or report of the machine's")
	}
	return c.Pod.Check()
}

func (p Process) isZero() bool {
	return len(p.Args)+len(p.Entrypoint)+len(p.Env) == 0 && !p.Terminal && !p.ReadOnly && p.User+p.Workdir+p.Hostname == ""
}
