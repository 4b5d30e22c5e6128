package diff

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"encoding/json"

	"holdfast/internal/image/transport"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// An ociImage is a container image, wherever it lies.
type ociImage struct {
	*transport.Reader
}

func (i ociImage) Side() Side { return Side{i.Reference, OCI, i.Digest} }

func (i ociImage) read(ctx context.Context, o Options) (*content, error) {
	c := newContent()
	c.part("platform", i.Platform)
	config, err := json.Marshal(i.Config)
	if err != nil {
		return nil, err
	}
	var settings map[string]any
	if err := json.Unmarshal(config, &settings); err != nil {
		return nil, err
	}
	for _, s := range listed(texts(settings)) {
		c.part("config "+s.Name, s.A)
	}
	for _, s := range listed(i.Annotations) {
		c.part("annotation "+s.Name, s.A)
	}
	c.part("config", string(i.ConfigSum))
	for n, l := range i.Layers {
		c.part(fmt.Sprintf("layer %d", n+1), bytesOf(l.Digest, l.Size))
	}
	return c, i.files(ctx, c, o)
}

// texts makes JSON values one line each.
func texts(values map[string]any) map[string]string {
	found := map[string]string{}
	for name, v := range values {
		if text, ok := v.(string); ok {
			found[name] = text
		} else if raw, err := json.Marshal(v); err == nil {
			found[name] = string(raw)
		}
	}
	return found
}

func bytesOf(d oci.Digest, size int64) string { return fmt.Sprintf("%s (%d bytes)", d, size) }

// files lays the layers over each other.
func (i ociImage) files(ctx context.Context, c *content, o Options) error {
	step := o.Progress.Start("read "+i.Reference, i.Size, progress.Bytes)
	for n, l := range i.Layers {
		if l.Encrypted {
			c.opaque = append(c.opaque, fmt.Sprintf("layer %d is encrypted: compared by its digest only", n+1))
			continue
		}
		if err := i.layer(ctx, c, n); err != nil {
			step.Fail()
			return err
		}
		step.Add(l.Size)
	}
	step.Done("")
	c.collectPackages()
	return nil
}

func (i ociImage) layer(ctx context.Context, c *content, n int) error {
	r, err := i.Layer(ctx, n)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := c.apply(ctx, r); err != nil {
		return fmt.Errorf("layer %d: %w", n+1, err)
	}
	_, err = io.Copy(io.Discard, r) // only the end is checked
	return err
}

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	maxFiles = 4 << 20
	maxBytes = 1 << 40 // what no honest layer unpacks to
)

// apply lays one layer over what is there.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md
func (c *content) apply(ctx context.Context, layer io.Reader) error {
	r := tar.NewReader(io.LimitReader(layer, maxBytes))
	added := map[string]bool{}
	for range maxFiles {
		h, err := r.Next()
		if err == io.EOF {
			return ctx.Err()
		}
		if err != nil || ctx.Err() != nil {
			return first(ctx.Err(), err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			name = "."
		}
		if err := c.entry(name, h, r, added); err != nil {
			return err
		}
		added[name] = true
	}
	return fmt.Errorf("more than %d files", maxFiles)
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *content) entry(name string, h *tar.Header, r io.Reader, added map[string]bool) error {
	dir, base := path.Split(name)
	switch {
	case base == opaque:
		c.remove(strings.TrimSuffix(dir, "/"), added)
		return nil
	case strings.HasPrefix(base, whiteout):
		gone := dir + strings.TrimPrefix(base, whiteout)
		delete(c.files, gone)
		c.remove(gone, nil)
		return nil
	case h.Typeflag == tar.TypeLink:
		return c.link(name, strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"))
	}
	f, err := fromTar(name, h, r)
	if err != nil {
		return err
	}
	if old := c.files[name]; old != nil && old.Type == "dir" && f.Type != "dir" {
		c.remove(name, nil)
	}
	c.files[name] = f
	return nil
}

// remove takes away what is below a folder, apart from what this layer added.
func (c *content) remove(dir string, added map[string]bool) {
	for p := range c.files {
		if strings.HasPrefix(p, dir+"/") && !added[p] || dir == "" && !added[p] {
			delete(c.files, p)
		}
	}
}

// link is a second name: the same file.
func (c *content) link(name, target string) error {
	f := c.files[target]
	if f == nil {
		return fmt.Errorf("/%s is a hard link to /%s, which is not there", name, target)
	}
	c.files[name] = f
	return nil
}

func fromTar(name string, h *tar.Header, r io.Reader) (*File, error) {
	f := fileOf(h.Typeflag, uint32(h.Mode), h.Uid, h.Gid, h.ModTime)
	switch h.Typeflag {
	case tar.TypeReg:
		if err := f.fill(name, r); err != nil {
			return nil, err
		}
	case tar.TypeSymlink:
		f.Target = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		f.Device = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	case tar.TypeDir, tar.TypeFifo:
	default:
		return nil, fmt.Errorf("/%s: entry type %q is not a file of any kind", name, h.Typeflag)
	}
	for key, value := range h.PAXRecords {
		if attribute, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if f.Xattrs == nil {
				f.Xattrs = map[string]string{}
			}
			f.Xattrs[attribute] = value
		}
	}
	return f, nil
}
