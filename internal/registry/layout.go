package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// The index.json of a repository's layout is for others: what reads and
// writes it there is this file. The registry itself goes by its index.

const (
	refName   = "org.opencontainers.image.ref.name"
	exportLag = time.Second // how long changes are gathered
)

// oldList marks lists of referrers in layouts that an older registry wrote.
const oldList = "org.olareg.referrer.subject"

type layoutIndex struct {
	SchemaVersion int           `json:"schemaVersion"`
	MediaType     string        `json:"mediaType"`
	Manifests     []layoutEntry `json:"manifests"`
}

type layoutEntry struct {
	MediaType    string            `json:"mediaType"`
	Digest       oci.Digest        `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// importAll takes the repositories that are in the folder into the index.
func (r *Registry) importAll() error {
	return filepath.WalkDir(r.config.Dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "blobs" || entry.Name()[0] == '.' && path != r.config.Dir):
			return fs.SkipDir
		case entry.Name() != "index.json":
			return nil
		}
		name, err := filepath.Rel(r.config.Dir, filepath.Dir(path))
		if err != nil || !validName(filepath.ToSlash(name)) {
			return nil
		}
		if err := r.importLayout(filepath.ToSlash(name)); err != nil {
			r.config.Logger.Error("a layout cannot be read", "repository", name, "cause", err)
		}
		return nil
	})
}

// reimport reads a layout again when it has changed: who serves it read-only
// does not own it.
func (r *Registry) reimport(repository string) error {
	info, err := os.Stat(filepath.Join(r.folder(repository), "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nameUnknown()
	}
	if err != nil {
		return err
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.imported[repository].Equal(info.ModTime()) {
		return nil
	}
	if err := r.importLayout(repository); err != nil {
		return err
	}
	r.imported[repository] = info.ModTime()
	return nil
}

// importLayout makes the index say of a repository what its index.json says,
// and what the indexes that it names say.
func (r *Registry) importLayout(repository string) error {
	raw, err := os.ReadFile(filepath.Join(r.folder(repository), "index.json"))
	if err != nil {
		return err
	}
	var list layoutIndex
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("%s/index.json: %w", repository, err)
	}
	i := importer{registry: r, repository: repository, at: map[oci.Digest]int{}}
	for _, e := range list.Manifests {
		i.add(e)
	}
	if r.config.ReadOnly {
		return r.index.Replace(repository, i.found)
	}
	return r.index.Import(repository, i.found)
}

type importer struct {
	registry   *Registry
	repository string
	found      []index.Tagging
	at         map[oci.Digest]int // in found
}

func (i *importer) add(e layoutEntry) {
	if _, err := oci.ParseDigest(string(e.Digest)); err != nil {
		return
	}
	if n, known := i.at[e.Digest]; known {
		i.tag(n, e)
		return
	}
	body := i.body(e.Digest)
	m, err := parseDocument(e.MediaType, body)
	if e.Annotations[oldList] == "" {
		t := index.Tagging{Entry: index.Entry{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size}}
		if err == nil {
			t.Entry = m.entry(e.Digest, int64(len(body)))
		}
		i.at[e.Digest] = len(i.found)
		i.found = append(i.found, t)
		i.tag(len(i.found)-1, e)
	}
	if err != nil {
		return
	}
	for _, child := range m.Manifests {
		if _, err := os.Stat(i.registry.link(i.repository, child.Digest)); err == nil {
			i.add(layoutEntry{MediaType: child.MediaType, Digest: child.Digest, Size: child.Size})
		}
	}
}

func (i *importer) tag(n int, e layoutEntry) {
	if tag := e.Annotations[refName]; tagForm.MatchString(tag) {
		i.found[n].Tags = append(i.found[n].Tags, tag)
	}
}

// body is what a digest names in the layout, or nothing.
func (i *importer) body(d oci.Digest) []byte {
	f, err := os.Open(i.registry.link(i.repository, d))
	if err != nil {
		return nil
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, i.registry.config.MaxManifest))
	if err != nil {
		return nil
	}
	return body
}
