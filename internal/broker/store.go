package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// A store is the broker's state as files that a person can read:
//
//	resources/REPOSITORY/TYPE/TAG       a secret each
//	configurations/HEX.json             api.Configuration
//	references/HEX.json                 envelopes as they came, named by their SHA-256
//	policies/{attestation,resource}.rego  absent: the shipped ones hold
//	attested/SESSION.json               api.ProofAttestation, while its token is good
//	proofs/TIME-SESSION-CHANCE.json     the proof of a release each
//
// Files are replaced as one step, so readers take no lock; writers take one
// that other processes see.
type store struct {
	dir string
	mu  sync.Mutex // one writer in this process; the file lock is for others
}

func openStore(dir string) (*store, error) {
	if dir == "" {
		return nil, errors.New("no state folder is set")
	}
	for _, sub := range []string{"resources", "configurations", "references", "policies", "attested", "proofs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	return &store{dir: dir}, nil
}

// write runs change while no one else writes.
func (s *store) write(ctx context.Context, change func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := atomicfile.Lock(ctx, filepath.Join(s.dir, "lock"))
	if err != nil {
		return err
	}
	return errors.Join(change(), unlock())
}

func (s *store) put(ctx context.Context, path string, data []byte) error {
	return s.write(ctx, func() error {
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		return atomicfile.WriteFile(path, data, 0o600)
	})
}

// create is put, but never in place of what is there: fs.ErrExist.
func (s *store) create(ctx context.Context, path string, data []byte) error {
	return s.write(ctx, func() error {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fs.ErrExist)
		}
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		return atomicfile.WriteFile(path, data, 0o600)
	})
}

func (s *store) remove(ctx context.Context, path string) error {
	return s.write(ctx, func() error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	})
}

// makeDir makes a folder and those above it so that they survive a crash.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// — resources —

func (s *store) resourcePath(r Resource) string {
	return filepath.Join(s.dir, "resources", filepath.FromSlash(string(r)))
}

func (s *store) resource(r Resource) ([]byte, error) {
	return input.ReadFile(s.resourcePath(r), input.Document)
}

func (s *store) resources() ([]string, error) {
	root := filepath.Join(s.dir, "resources")
	paths := []string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || entry.IsDir() {
			return err
		}
		if r, err := ParseResource(filepath.ToSlash(rel)); err == nil { // else a file that is being written
			paths = append(paths, string(r))
		}
		return nil
	})
	return paths, err
}

// — configurations —

func (s *store) configurationPath(digest string) (string, error) {
	name, err := parseDigest(digest)
	return filepath.Join(s.dir, "configurations", name+".json"), err
}

func (s *store) authorise(ctx context.Context, c api.Configuration) error {
	path, err := s.configurationPath(c.Digest)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return s.put(ctx, path, append(raw, '\n'))
}

func (s *store) configurations() (map[string]api.Configuration, error) {
	all := map[string]api.Configuration{}
	err := s.each("configurations", func(name string, raw []byte) error {
		var c api.Configuration
		if err := input.JSON(raw, &c); err != nil {
			return err
		}
		if c.Digest != "sha256:"+name {
			return fmt.Errorf("it is about %s", c.Digest)
		}
		all[c.Digest] = c
		return nil
	})
	return all, err
}

// — reference values —

func (s *store) addReference(ctx context.Context, envelope []byte) (id string, err error) {
	id = digestOf(envelope)
	path, err := s.referencePath(id)
	if err != nil {
		return "", err
	}
	return id, s.put(ctx, path, envelope)
}

func (s *store) referencePath(id string) (string, error) {
	name, err := parseDigest(id)
	return filepath.Join(s.dir, "references", name+".json"), err
}

func (s *store) envelopes(read func(id string, envelope []byte)) error {
	return s.each("references", func(name string, raw []byte) error {
		read("sha256:"+name, raw)
		return nil
	})
}

// each reads the .json files of a folder, in order of name.
func (s *store) each(sub string, read func(name string, raw []byte) error) error {
	dir := filepath.Join(s.dir, sub)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		raw, err := input.ReadFile(filepath.Join(dir, entry.Name()), input.Document)
		if errors.Is(err, fs.ErrNotExist) {
			continue // withdrawn meanwhile
		}
		if err == nil {
			err = read(name, raw)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(sub, entry.Name()), bare(err))
		}
	}
	return nil
}

// bare leaves out the path of an error that is told of it anyway.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// parseDigest returns the hexadecimal part of a SHA-256 digest.
func parseDigest(digest string) (string, error) {
	hexPart, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hexPart) != 64 || strings.Trim(hexPart, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %q: expected sha256: and 64 lower-case hexadecimal digits", digest)
	}
	return hexPart, nil
}

func sortedResources(list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, text := range list {
		r, err := ParseResource(text)
		if err != nil {
			return nil, err
		}
		out = append(out, string(r))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
