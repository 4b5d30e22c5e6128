package confidential

import (
	"errors"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/enc/sealed"
)

// configMap are a ConfigMap's files, which are measured.
func (r reader) configMap(name string, items []item, mode *int) ([]api.VolumeFile, error) {
	m, ok := r.ConfigMaps[name]
	if !ok {
		return nil, fmt.Errorf("configMap %s: is not in the same manifest, so it cannot be measured", name)
	}
	files, err := m.files(items, mode)
	if err != nil {
		return nil, fmt.Errorf("configMap %s: %w", name, err)
	}
	return files, nil
}

// secret are a Secret's files, which only the machine opens.
func (r reader) secret(name string, items []item, mode *int) ([]api.VolumeFile, error) {
	m, ok := r.SealedSecrets[name]
	if !ok {
		return nil, fmt.Errorf("secret %s: is not in the same manifest, so it cannot be measured", name)
	}
	files, err := m.files(items, mode)
	for i, f := range files {
		if !sealed.Is(string(f.Content)) {
			err = errors.Join(err, fmt.Errorf("%s: %w", f.Name, errNotSealed))
		}
		files[i].Sealed, files[i].Content = string(f.Content), nil
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return files, nil
}

var errNotSealed = errors.New(`the node would read it: put it at the broker, and write what "holdfast secret seal" prints as its value`)

func (r reader) projected(p projected, mode *int) ([]api.VolumeFile, error) {
	switch {
	case p.ConfigMap != nil:
		return r.configMap(p.ConfigMap.Name, p.ConfigMap.Items, mode)
	case p.Secret != nil:
		return r.secret(p.Secret.Name, p.Secret.Items, mode)
	}
	return nil, errors.New("projected: want a configMap or a secret of the same manifest")
}

// files are those of a map's items, or of all its keys, sorted: the same manifest is the
// same machine.
func (m ConfigMap) files(items []item, mode *int) (files []api.VolumeFile, err error) {
	if len(items) == 0 {
		for _, key := range m.keys() {
			items = append(items, item{Key: key, Path: key})
		}
	}
	for _, i := range items {
		content, ok := m.get(i.Key)
		if !ok {
			return nil, fmt.Errorf("there is no key %s", i.Key)
		}
		f := api.VolumeFile{Name: i.Path, Content: content}
		if i.Mode == nil {
			i.Mode = mode
		}
		if i.Mode != nil {
			f.Mode = fmt.Sprintf("%04o", *i.Mode)
		}
		files = append(files, f)
	}
	return files, nil
}
