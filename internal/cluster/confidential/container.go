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
		NonRoot: isSet(c.Security.NonRoot, r.pod.Security.NonRoot),
	}
	out.Process = api.Process{
		Entrypoint: c.Command, Args: c.Args, Workdir: c.WorkingDir, Hostname: r.pod.Hostname,
		User:     user(r.pod.Security, c.Security),
		ReadOnly: c.Security.ReadOnlyRoot != nil && *c.Security.ReadOnlyRoot,
	}
	if out.Image, err = r.Image(c.Image); err != nil {
		return out, err
	}
	for _, v := range c.Env {
		value, err := r.value(v)
		if err != nil {
			return out, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		out.Process.Env = append(out.Process.Env, v.Name+"="+value)
	}
	for _, m := range c.VolumeMounts {
		out.Volumes = append(out.Volumes, api.VolumeMount{Name: m.Name, Path: m.Path, ReadOnly: m.ReadOnly || r.isConfigMap(m.Name)})
	}
	if limit, ok := c.Resources.Limits["memory"]; ok {
		out.Memory, err = quantity(limit)
	}
	return out, err
}

func (r reader) isConfigMap(name string) bool {
	return slices.ContainsFunc(r.pod.Volumes, func(v volume) bool { return v.Name == name && v.ConfigMap != nil })
}

func (r reader) streams(c container) (list []string) {
	if !slices.Contains(r.NoLogs, c.Name) {
		list = append(list, api.StreamLogs)
	}
	if c.Stdin {
		list = append(list, api.StreamInput)
	}
	return list
}

func (c container) check() error {
	for name, p := range map[string]*probe{"readinessProbe": c.Readiness, "livenessProbe": c.Liveness, "startupProbe": c.Startup} {
		if p != nil && p.Exec != nil {
			return fmt.Errorf("%s.exec: the node may start nothing in a confidential pod: ask over the network", name)
		}
	}
	switch {
	case c.TTY:
		return errors.New("tty: a machine gives no terminal")
	case c.Security.Privileged:
		return errors.New("securityContext.privileged: its machine is its own, but no container has all of it")
	case len(c.Security.Capabilities.Add) > 0:
		return fmt.Errorf("securityContext.capabilities.add: %s: a machine gives no more than its own list", strings.Join(c.Security.Capabilities.Add, ", "))
	case c.RestartPolicy != "":
		return errors.New("restartPolicy: initial containers that go on are not known here")
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

// value is a variable's. References to others are expanded by a node, which is not
// believed.
func (r reader) value(v variable) (string, error) {
	switch {
	case v.From == nil && strings.Contains(v.Value, "$("):
		return "", errors.New("refers to another with $(…): write its value")
	case v.From == nil:
		return v.Value, nil
	case v.From.ConfigMap != nil:
		content, ok := r.ConfigMaps[v.From.ConfigMap.Name].get(v.From.ConfigMap.Key)
		if !ok {
			return "", fmt.Errorf("key %s of configMap %s is not in the same manifest, so it cannot be measured", v.From.ConfigMap.Key, v.From.ConfigMap.Name)
		}
		return string(content), nil
	case v.From.Secret != nil:
		return "", errors.New("secretKeyRef: the node would read the Secret: put it at the broker, and write a sealed secret as the value")
	}
	return "", errors.New("valueFrom: the node would give it, and is not believed")
}
