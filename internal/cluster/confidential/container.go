package confidential

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/api"
)

func (r reader) container(c container) (out api.Container, err error) {
	if err := c.check(); err != nil {
		return out, err
	}
	out = api.Container{
		Name: c.Name, Secrets: r.Secrets[c.Name], Streams: r.streams(c), Drop: c.Security.Capabilities.Drop,
		NonRoot: isSet(c.Security.NonRoot, r.pod.Security.NonRoot), Message: r.message(c),
	}
	out.Process = api.Process{
		Entrypoint: c.Command, Args: c.Args, Workdir: c.WorkingDir, Hostname: r.pod.Hostname,
		User:     user(r.pod.Security, c.Security),
		ReadOnly: c.Security.ReadOnlyRoot != nil && *c.Security.ReadOnlyRoot,
		Terminal: c.TTY,
	}
	if out.Exec, err = r.commands(c); err != nil {
		return out, err
	}
	if out.Image, err = r.Image(c.Image); err != nil {
		return out, err
	}
	if out.Process.Env, err = r.variables(c); err != nil {
		return out, err
	}
	for _, m := range c.VolumeMounts {
		out.Volumes = append(out.Volumes, api.VolumeMount{Name: m.Name, Path: m.Path, ReadOnly: m.ReadOnly || r.isFilled(m.Name)})
	}
	if err := r.checkMessage(c, out.Volumes); err != nil {
		return out, err
	}
	if limit, ok := c.Resources.Limits["memory"]; ok {
		out.Memory, err = quantity(limit)
	}
	return out, err
}

// isFilled says whether a volume has files of its own, which no container changes.
func (r reader) isFilled(name string) bool {
	return slices.ContainsFunc(r.pod.Volumes, func(v volume) bool { return v.Name == name && v.EmptyDir == nil })
}

func (r reader) keepsLogs(container string) bool { return slices.Contains(r.NoLogs, container) }

func (r reader) streams(c container) (list []string) {
	if !r.keepsLogs(c.Name) {
		list = append(list, api.StreamLogs)
	}
	if c.Stdin {
		list = append(list, api.StreamInput)
	}
	return list
}

func (c container) check() error {
	switch {
	case c.Security.Privileged:
		return errors.New("securityContext.privileged: its machine is its own, but no container has all of it")
	case len(c.Security.Capabilities.Add) > 0:
		return fmt.Errorf("securityContext.capabilities.add: %s: a machine gives no more than its own list", strings.Join(c.Security.Capabilities.Add, ", "))
	case c.RestartPolicy != "":
		return errors.New("restartPolicy: initial containers that go on are not known here")
	}
	if err := plain(slices.Concat(c.Command, c.Args)); err != nil {
		return fmt.Errorf("command: %w", err)
	}
	return nil
}

// isSet says whether the first of two that is there is true.
func isSet(own, pod *bool) bool {
	if own != nil {
		return *own
	}
	return pod != nil && *pod
}

// user is the container's, else the pod's; empty: the image's.
func user(pod, own security) string {
	uid, gid := own.User, own.Group
	if uid == nil {
		uid = pod.User
	}
	if gid == nil {
		gid = pod.Group
	}
	switch {
	case uid == nil:
		return ""
	case gid == nil:
		return strconv.FormatInt(*uid, 10)
	}
	return fmt.Sprintf("%d:%d", *uid, *gid)
}
