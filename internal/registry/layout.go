package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
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

// An exporter is at work while there are layouts to write.
type exporter struct {
	running chan struct{} // holds one place
}

// export has the layouts that changed written, soon.
func (r *Registry) export() {
	select {
	case r.exporting.running <- struct{}{}:
		r.background.Go(func() { r.exportUntilDone() })
	default: // the one at work sees the change
	}
}

func (r *Registry) exportUntilDone() {
	for lag := exportLag; ; {
		select {
		case <-time.After(lag):
		case <-r.ctx.Done():
			return // Close writes what is left
		}
		began := time.Now()
		if err := r.exportStale(r.ctx); err != nil && r.ctx.Err() == nil {
			r.config.Logger.Error("an index.json cannot be written", "cause", err)
		}
		lag = max(exportLag, 10*time.Since(began))
		<-r.exporting.running
		if changed, err := r.index.Stale(); err != nil || len(changed) == 0 {
			return
		}
		select {
		case r.exporting.running <- struct{}{}:
		default:
			return // a change meanwhile has another one at work
		}
	}
}

// exportStale writes the layouts that are behind the index.
func (r *Registry) exportStale(ctx context.Context) error {
	if r.config.ReadOnly {
		return nil
	}
	changed, err := r.index.Stale()
	if err != nil || len(changed) == 0 {
		return err
	}
	for name := range changed {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.writeLayout(name); err != nil {
			return err
		}
	}
	return r.index.Written(changed)
}

func (r *Registry) writeLayout(repository string) error {
	if err := writeNew(filepath.Join(r.folder(repository), "oci-layout"), layoutFile); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(r.folder(repository), "index.json"), 0o644, func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		fmt.Fprintf(buffered, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, ociIndex)
		between := ""
		inner := r.inner(repository)
		err := r.index.Each(repository, func(e index.Entry, tags []string) error {
			if len(tags) == 0 && inner[e.Digest] {
				return nil
			}
			for _, tag := range append(tags, "")[:max(1, len(tags))] {
				if err := writeEntry(buffered, between, e, tag); err != nil {
					return err
				}
				between = ","
			}
			return nil
		})
		fmt.Fprint(buffered, "]}\n")
		return errors.Join(err, buffered.Flush())
	})
}

// inner are the manifests that an index of the repository names: a layout has
// them there.
func (r *Registry) inner(repository string) map[oci.Digest]bool {
	found := map[oci.Digest]bool{}
	_ = r.index.Each(repository, func(e index.Entry, _ []string) error {
		if !isIndexType(e.MediaType) {
			return nil
		}
		body, err := os.ReadFile(r.link(repository, e.Digest))
		if err != nil {
			return nil
		}
		if m, err := parseDocument(e.MediaType, body); err == nil {
			for _, d := range m.Manifests {
				found[d.Digest] = true
			}
		}
		return nil
	})
	return found
}

func writeEntry(w io.Writer, between string, e index.Entry, tag string) error {
	out := layoutEntry{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size, ArtifactType: e.ArtifactType}
	if tag != "" {
		out.Annotations = map[string]string{refName: tag}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s", between, raw)
	return err
}

func checked(d oci.Digest, f *os.File) (io.ReadCloser, error) {
	r, err := blob.NewReader(d, f)
	return struct {
		io.Reader
		io.Closer
	}{r, f}, err
}
