package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

const specFile = "cluster.json"

func (f *Fleet) dir(name string) string        { return filepath.Join(f.Dir, name) }
func (f *Fleet) pkiDir(name string) string     { return filepath.Join(f.dir(name), "pki") }
func (f *Fleet) programs(name string) string   { return filepath.Join(f.dir(name), "programs") }
func (f *Fleet) kubeconfig(name string) string { return filepath.Join(f.dir(name), "kubeconfig") }
func (f *Fleet) nodeDir(name, node string) string {
	return filepath.Join(f.dir(name), "nodes", node)
}

// load reads what the cluster called name is, or says ErrNone.
func (f *Fleet) load(name string) (*Spec, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	raw, err := input.ReadFile(filepath.Join(f.dir(name), specFile), input.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	var s Spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("cluster %s: %s: %w", name, specFile, err)
	}
	if s.Name != name || len(s.Nodes) == 0 || !idForm.MatchString(s.Network.ID) {
		return nil, fmt.Errorf("cluster %s: %s is not its description", name, specFile)
	}
	return &s, nil
}

func (f *Fleet) save(s *Spec) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.dir(s.Name), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(f.dir(s.Name), specFile), append(raw, '\n'), 0o600)
}

// names are those of all clusters.
func (f *Fleet) names() ([]string, error) {
	entries, err := os.ReadDir(f.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// claim keeps other programs from the cluster until release.
func (f *Fleet) claim(name string) (release func() error, err error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, err
	}
	path := f.dir(name) + ".lock"
	lock, err := atomicfile.TryLock(path)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, fmt.Errorf("cluster %s: %w", name, ErrBusy)
	}
	return func() error { return errors.Join(os.Remove(path), lock.Close()) }, nil
}

// alone runs do while no other program chooses networks.
func (f *Fleet) alone(ctx context.Context, do func() error) error {
	unlock, err := atomicfile.Lock(ctx, filepath.Join(f.Dir, ".lock"))
	if err != nil {
		return err
	}
	return errors.Join(do(), unlock())
}
