package guest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/api"
)

// added are variables that a kubelet gives every container without being asked,
// and paths that it mounts something on. They are not given to the container.
var (
	addedVariables = regexp.MustCompile(`^(HOSTNAME|TERM|KUBERNETES_(SERVICE|PORT)(_[A-Z0-9_]+)?)$`)
	addedMounts    = []string{"/dev/termination-log", "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
)

// compare holds what the host says of a container against what the configuration
// and the image say. Nothing of it is used, so that a lie gains nothing; but a host that is
// honestly wrong is told where.
func compare(s spec, c api.Container, p api.CreateParams) error {
	if want := s.args(); len(p.Args) > 0 && !slices.Equal(p.Args, want) {
		return fmt.Errorf("arguments are %.200q, the measured configuration has %.200q", p.Args, want)
	}
	if want := s.cwd(); p.Workdir != "" && p.Workdir != want {
		return fmt.Errorf("working directory is %.200q, the measured configuration has %.200q", p.Workdir, want)
	}
	env := s.env()
	for _, v := range p.Env {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains(env, v) && !addedVariables.MatchString(name) {
			return fmt.Errorf("variable %.80s is not as the measured configuration has it", name)
		}
	}
	for _, at := range p.Mounts {
		if at != path.Clean(at) || !hasPlace(c, at) {
			return fmt.Errorf("mount %.200s is not in the measured configuration", at)
		}
	}
	return nil
}

func hasPlace(c api.Container, at string) bool {
	if at == c.Message {
		return true
	}
	for _, place := range addedMounts {
		if at == place || strings.HasPrefix(at, place+"/") {
			return true
		}
	}
	return slices.ContainsFunc(c.Volumes, func(m api.VolumeMount) bool { return m.Path == at }) ||
		slices.ContainsFunc(c.Tmpfs, func(t api.Tmpfs) bool { return t.Path == at })
}

// agree is what can be held against the host before anything is pulled.
func agree(c api.Container, p api.CreateParams) error {
	_, digest, _ := strings.Cut(c.Image, "@")
	switch {
	case p.Terminal && !c.Process.Terminal:
		return fmt.Errorf("container %s: a terminal is not in the measured configuration", c.Name)
	case p.Image != "" && p.Image != digest:
		return fmt.Errorf("container %s: image is %.80s, the measured configuration has %s", c.Name, p.Image, digest)
	}
	return nil
}
