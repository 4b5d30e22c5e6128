package confidential

import (
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/enc/sealed"
)

// variables are those of whole maps first, as a kubelet has them, and then a container's own.
func (r reader) variables(c container) (env []string, err error) {
	for _, s := range c.EnvFrom {
		more, err := r.all(s)
		if err != nil {
			return nil, fmt.Errorf("envFrom: %w", err)
		}
		env = append(env, more...)
	}
	for _, v := range c.Env {
		value, err := r.value(v)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		env = append(env, v.Name+"="+value)
	}
	return env, nil
}

// all are the variables of a map's keys.
func (r reader) all(s source) (env []string, err error) {
	var m ConfigMap
	var value func(keyed) (string, error)
	var from string
	switch {
	case s.ConfigMap != nil:
		from, m, value = s.ConfigMap.Name, r.ConfigMaps[s.ConfigMap.Name], r.measured
	case s.Secret != nil:
		from, m, value = s.Secret.Name, r.SealedSecrets[s.Secret.Name], r.sealed
	default:
		return nil, errors.New("want a configMapRef or a secretRef")
	}
	if len(m.keys()) == 0 {
		return nil, fmt.Errorf("%s: is not in the same manifest, so it cannot be measured", from)
	}
	for _, key := range m.keys() {
		text, err := value(keyed{Name: from, Key: key})
		if err != nil {
			return nil, err
		}
		env = append(env, s.Prefix+key+"="+text)
	}
	return env, nil
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
		return r.measured(*v.From.ConfigMap)
	case v.From.Secret != nil:
		return r.sealed(*v.From.Secret)
	}
	return "", errors.New("valueFrom: the node would give it, and is not believed")
}

func (r reader) measured(k keyed) (string, error) {
	content, ok := r.ConfigMaps[k.Name].get(k.Key)
	if !ok {
		return "", fmt.Errorf("key %s of configMap %s is not in the same manifest, so it cannot be measured", k.Key, k.Name)
	}
	return string(content), nil
}

// sealed is a value that only the machine opens.
func (r reader) sealed(k keyed) (string, error) {
	content, ok := r.SealedSecrets[k.Name].get(k.Key)
	if !ok {
		return "", fmt.Errorf("secretKeyRef: key %s of secret %s is not in the same manifest, so it cannot be measured", k.Key, k.Name)
	}
	if !sealed.Is(string(content)) {
		return "", fmt.Errorf("secretKeyRef: key %s of secret %s: %w", k.Key, k.Name, errNotSealed)
	}
	return string(content), nil
}
