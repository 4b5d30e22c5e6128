package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// maxTold bounds how many layouts that cannot be written are told of at once.
const maxTold = 10

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

// exportStale writes the layouts that are behind the index. One that cannot be
// written stays behind, and holds up no other.
func (r *Registry) exportStale(ctx context.Context) error {
	if r.config.ReadOnly {
		return nil
	}
	changed, err := r.index.Stale()
	if err != nil || len(changed) == 0 {
		return err
	}
	var failed []error
	for name := range changed {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.writeLayout(name); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			delete(changed, name)
		}
	}
	return errors.Join(errors.Join(failed[:min(len(failed), maxTold)]...), r.index.Written(changed))
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
