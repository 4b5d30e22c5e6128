// Package confidential reads what a Kubernetes pod is to be, and writes it as the
// measured configuration of the machine that it will run in.
//
// What the machine could not hold, or the node would have to be believed in, is
// refused with the field's name: never dropped.
package confidential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/api"
)

// ConfigMaps are those that stand in the same manifest, by name.
type ConfigMaps map[string]ConfigMap

// A ConfigMap's content becomes part of the measured configuration.
type ConfigMap struct {
	Data   map[string]string `json:"data"`
	Binary map[string][]byte `json:"binaryData"`
}

// Settings are what a manifest does not say.
type Settings struct {
	ConfigMaps ConfigMaps
	// SealedSecrets are the Secrets of the manifest; their values have to be sealed secrets.
	SealedSecrets ConfigMaps
	// Image gives an image's name by its digest.
	Image func(name string) (string, error)
	// Secrets are those of each container.
	Secrets map[string][]api.SecretRef
	// NoLogs are containers whose output stays in the machine.
	NoLogs []string
	// Commands are what the host may start in each container, beside what its probes and
	// hooks are.
	Commands map[string][]api.Command
}

// RuntimeClass is what such a pod runs with.
const RuntimeClass = "holdfast"

// Pod reads a PodSpec, as JSON.
func Pod(spec []byte, s Settings) (*api.Pod, error) {
	var p podSpec
	d := json.NewDecoder(bytes.NewReader(spec))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("pod: %w: nothing is known of how a machine would keep it", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("pod: %w", err)
	}
	r := reader{s, p}
	var out api.Pod
	for _, v := range p.Volumes {
		volume, err := r.volume(v)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		out.Volumes = append(out.Volumes, volume)
	}
	for i, c := range slices.Concat(p.InitContainers, p.Containers) {
		container, err := r.container(c)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
		container.Init = i < len(p.InitContainers)
		out.Containers = append(out.Containers, container)
	}
	return &out, out.Check()
}

func (p podSpec) check() error {
	switch {
	case p.HostNetwork || p.HostPID || p.HostIPC:
		return errors.New("hostNetwork, hostPID, hostIPC: a machine has its own")
	case p.RuntimeClass != "" && p.RuntimeClass != RuntimeClass:
		return fmt.Errorf("runtimeClassName %q: want %s", p.RuntimeClass, RuntimeClass)
	case p.Automount != nil && *p.Automount:
		return errors.New("automountServiceAccountToken: the node would give the token, and could keep it")
	case p.ServiceLinks != nil && *p.ServiceLinks:
		return errors.New("enableServiceLinks: the node would give variables that nobody measured")
	case p.Security.FSGroup != nil:
		return errors.New("securityContext.fsGroup: volumes of a machine are for all its users")
	}
	return nil
}

// A reader reads the parts of one pod.
type reader struct {
	Settings
	pod podSpec
}

// usualSize is an emptyDir's that has no limit.
const usualSize = 64 << 20

func (r reader) volume(v volume) (out api.Volume, err error) {
	out = api.Volume{Name: v.Name, Size: usualSize}
	switch {
	case v.EmptyDir != nil:
		if v.EmptyDir.Limit != nil {
			out.Size, err = quantity(v.EmptyDir.Limit)
		}
		return out, err
	case v.ConfigMap != nil:
		c := v.ConfigMap
		out.Files, err = r.configMap(c.Name, c.Items, c.Mode)
	case v.Secret != nil:
		out.Files, err = r.secret(v.Secret.Name, v.Secret.Items, v.Secret.Mode)
	case v.Projected != nil:
		for _, one := range v.Projected.Sources {
			files, failed := r.projected(one, v.Projected.Mode)
			out.Files, err = append(out.Files, files...), errors.Join(err, failed)
		}
	default:
		err = errors.New("want an emptyDir, or a configMap or secret of the same manifest; what the node would bring is not believed")
	}
	return out, err
}

func (m ConfigMap) get(key string) ([]byte, bool) {
	if text, ok := m.Data[key]; ok {
		return []byte(text), true
	}
	raw, ok := m.Binary[key]
	return raw, ok
}

func (m ConfigMap) keys() (all []string) {
	for key := range m.Data {
		all = append(all, key)
	}
	for key := range m.Binary {
		all = append(all, key)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// quantity reads bytes as Kubernetes writes them (apimachinery, api/resource).
func quantity(v any) (int64, error) {
	text := fmt.Sprint(v)
	if f, ok := v.(float64); ok {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	for suffix, factor := range map[string]int64{
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "": 1,
	} {
		digits, ok := strings.CutSuffix(text, suffix)
		n, err := strconv.ParseInt(digits, 10, 64)
		if ok && err == nil && n >= 0 && n <= api.MaxTmpfs/factor {
			return n * factor, nil
		}
	}
	return 0, fmt.Errorf("quantity %.40q: want a number of bytes, as 64Mi", text)
}
