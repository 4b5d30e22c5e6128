package roles

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"gopkg.in/yaml.v3"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// ErrExist and ErrNotExist are of administrators.
var (
	ErrExist    = errors.New("there is such an administrator already")
	ErrNotExist = errors.New("there is no such administrator")
)

// Add makes somebody an administrator, in the file at path, which is made if
// there is none.
func Add(path string, a Administrator) error {
	if err := CheckName(a.Name); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(a.Key)
	if err != nil {
		return err
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return edit(path, func(all map[string]any) error {
		if _, has := all[a.Name]; has {
			return fmt.Errorf("%s: %w", a.Name, ErrExist)
		}
		all[a.Name] = map[string]any{"roles": a.Roles, "key": key}
		return nil
	})
}

// Remove ends somebody's being one.
func Remove(path, name string) error {
	return edit(path, func(all map[string]any) error {
		if _, has := all[name]; !has {
			return fmt.Errorf("%s: %w", name, ErrNotExist)
		}
		delete(all, name)
		return nil
	})
}

func edit(path string, change func(administrators map[string]any) error) error {
	raw, err := input.ReadFile(path, input.Document)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := map[string]any{}
	if err := yaml.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	administrators, _ := all["administrators"].(map[string]any)
	if administrators == nil {
		administrators = map[string]any{}
	}
	if err := change(administrators); err != nil {
		return err
	}
	all["administrators"] = administrators
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(all), encoder.Close()); err != nil {
		return err
	}
	if _, err := Parse(out.Bytes()); err != nil {
		return fmt.Errorf("%s%w", path, err)
	}
	return atomicfile.WriteFile(path, out.Bytes(), 0o600)
}
