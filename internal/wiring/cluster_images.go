package wiring

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/atomicfile"
	"holdfast/internal/image"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/transport"
	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// nodeRegistry is the host part of the names of images that nodes have from the
// start. Nobody can ask it: RFC 6761 keeps the name from being anybody's.
const nodeRegistry = "holdfast.invalid/"

// An archive is an image in one file, as containerd takes it in.
type archive struct{ path, name string }

// made is a folder that stands for all that it was made of: the recipe and its
// lock. Build makes it when it is absent.
func (b Builder) made(ctx context.Context, path, kind string, build func(l LockedRecipe, dir string) error) (string, error) {
	r, err := recipe.Load(path)
	if err != nil {
		return "", err
	}
	unlock, err := atomicfile.Lock(ctx, b.Installation.Lock("image-"+r.Name))
	if err != nil {
		return "", err
	}
	defer unlock()
	h := sha256.New()
	sum, err := r.Digest()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, "v1", kind, sum)
	if err := hashFile(h, r.LockPath()); err != nil {
		return "", err
	}
	for _, p := range r.Programs {
		if err := hashModule(h, r.Dir(), p.Module); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(b.Installation.dir, "images", r.Name+"-"+hex.EncodeToString(h.Sum(nil)[:8]))
	if used(dir) {
		return dir, nil
	}
	if err := errors.Join(b.Installation.collect(r.Name), os.MkdirAll(filepath.Dir(dir), 0o700)); err != nil {
		return "", err
	}
	if err := b.Fresh(ctx, path, func(l LockedRecipe) error { return build(l, dir) }); err != nil {
		return "", err
	}
	used(dir) // a tree has the time that its image says
	return dir, nil
}

// unused is how long what was made of a recipe is kept that nobody asks for.
const unused = 7 * 24 * time.Hour

// used says whether what was made is there, and notes that it was asked for.
func used(dir string) bool {
	now := time.Now()
	return os.Chtimes(dir, now, now) == nil
}

// collect removes what was made of earlier recipes called name, that nobody asked for
// in a week and that no cluster runs on. Archives are links in clusters that have them.
func (i Installation) collect(name string) error {
	old, err := filepath.Glob(filepath.Join(i.dir, "images", name+"-*"))
	if err != nil {
		return err
	}
	clusters, err := filepath.Glob(filepath.Join(i.dir, "clusters", "*", "cluster.json"))
	if err != nil {
		return err
	}
	var running [][]byte
	for _, path := range clusters {
		raw, err := input.ReadFile(path, input.Document)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		running = append(running, raw)
	}
	for _, dir := range old {
		info, err := os.Stat(dir)
		digest := strings.TrimPrefix(filepath.Base(dir), name+"-")
		if err != nil || !madeForm.MatchString(digest) || time.Since(info.ModTime()) < unused ||
			slices.ContainsFunc(running, func(raw []byte) bool { return bytes.Contains(raw, []byte(dir)) }) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// madeForm is what follows a recipe's name in the names of what was made of it.
var madeForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// hashModule stands for a program's module of this checkout by its go.sum and its
// main.go: kube/ pins all else.
func hashModule(w io.Writer, recipe, module string) error {
	if len(module) < 2 || module[:2] != "./" {
		return nil
	}
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		if err := hashFile(w, filepath.Join(recipe, "..", "..", module, name)); err != nil {
			return err
		}
	}
	return nil
}

// nodeTree is the folder of a node's root, made of the recipe at path.
func (b Builder) nodeTree(ctx context.Context, path string) (string, error) {
	return b.made(ctx, path, "tree", func(l LockedRecipe, dir string) error {
		layout := dir + ".oci"
		defer os.RemoveAll(layout)
		if _, err := b.OCI(ctx, l, layout); err != nil {
			return err
		}
		_, err := Unpack(ctx, transport.LayoutRef(layout, ""), dir, nil, transport.Options{Progress: b.Progress})
		return err
	})
}

// nodeImage is the image of the recipe at path as an archive.
func (b Builder) nodeImage(ctx context.Context, path string) (a archive, err error) {
	dir, err := b.made(ctx, path, "archive", func(l LockedRecipe, dir string) error {
		layout := dir + ".oci"
		defer os.RemoveAll(layout)
		result, err := b.OCI(ctx, l, layout)
		if err != nil {
			return err
		}
		return writeArchive(dir, layout, nodeRegistry+l.Recipe.Name+":"+result.Digest.Hex()[:12], result)
	})
	if err != nil {
		return a, err
	}
	a.path = filepath.Join(dir, "image.tar")
	name, err := os.ReadFile(filepath.Join(dir, "name"))
	a.name = string(name)
	return a, err
}

// writeArchive makes the folder dir with the layout's image as a tar (OCI image
// layout), named as containerd names what it imports.
func writeArchive(dir, layout, name string, r *image.OCIResult) error {
	tmp := dir + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	err := atomicfile.Write(filepath.Join(tmp, "image.tar"), 0o644, func(w io.Writer) error { return tarLayout(w, layout, name, r) })
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(tmp, "name"), []byte(name), 0o644)
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func tarLayout(w io.Writer, layout, name string, r *image.OCIResult) error {
	t := tar.NewWriter(w)
	blobs := []oci.Digest{r.Digest, r.Config}
	for _, l := range r.Layers {
		blobs = append(blobs, l.Digest)
	}
	manifest, err := os.Stat(filepath.Join(layout, "blobs/sha256", r.Digest.Hex()))
	if err != nil {
		return err
	}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{{
		MediaType: v1.MediaTypeImageManifest, Digest: digest.Digest(r.Digest), Size: manifest.Size(),
		Annotations: map[string]string{"io.containerd.image.name": name},
	}}})
	if err != nil {
		return err
	}
	for file, content := range map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index} {
		if err := t.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	for _, d := range blobs {
		if err := tarFile(t, layout, "blobs/sha256/"+d.Hex()); err != nil {
			return err
		}
	}
	return t.Close()
}

func tarFile(t *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}
