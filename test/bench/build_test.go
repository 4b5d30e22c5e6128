package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/blob/dir"
	"holdfast/internal/deb"
	"holdfast/internal/wiring"
)

// BenchmarkImageBuild builds images from packages that are here already, in
// turn with what Debian's own tools take for a squashfs of the same packages:
// mmdebstrap unpacks them, from a local archive, and mksquashfs compresses
// them, at the level of ours. floor-s is the compressor's part of that.
func BenchmarkImageBuild(b *testing.B) {
	needs(b, "mmdebstrap", "mksquashfs")
	for name, recipe := range map[string]string{"machine": "images/guest", "container": "images/redis"} {
		b.Run(name, func(b *testing.B) { build(b, name, recipe) })
	}
}

func build(b *testing.B, format, recipe string) {
	recipe = filepath.Join(root, recipe)
	if format == "container" {
		format = "oci"
	}
	l, err := wiring.LoadLocked(recipe, "")
	check(b, err)
	out := b.TempDir()
	holdfast(b, "image", "build", recipe, "--format", format, "-o", filepath.Join(out, "warm"))
	repository, names := archive(b, append(l.Lock.Packages, l.Lock.Boot...))
	var ours, theirs, floor samples
	for i := 0; b.Loop(); i++ {
		ours = append(ours, timed(b, func() {
			holdfast(b, "image", "build", recipe, "--format", format, "-o", filepath.Join(out, fmt.Sprint("ours", i)))
		}))
		tree, image := filepath.Join(out, "tree"), filepath.Join(out, "image")
		unpacking := timed(b, func() {
			command(b, "mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--include="+names,
				l.Lock.Suite, tree, "deb [trusted=yes] copy:"+repository+" ./")
		})
		floor = append(floor, timed(b, func() {
			command(b, "mksquashfs", tree, image, "-comp", "zstd", "-Xcompression-level", "7", "-quiet", "-no-progress")
		}))
		theirs = append(theirs, unpacking+floor[i])
		check(b, os.RemoveAll(tree))
		check(b, os.Remove(image))
	}
	b.ReportMetric(ours.median(), "ours-s")
	b.ReportMetric(theirs.median(), "theirs-s")
	b.ReportMetric(floor.median(), "floor-s")
	b.ReportMetric(ours.ratio(theirs), "ratio")
}

// archive is a folder of the packages with an index, as apt reads it. It tells
// of no dependencies: a recipe may leave some out.
func archive(b *testing.B, pins []deb.Pin) (folder, names string) {
	b.Helper()
	store, err := dir.New(state(b).Cache())
	check(b, err)
	folder = b.TempDir()
	check(b, os.Chmod(folder, 0o755))
	var index strings.Builder
	var list []string
	for _, p := range pins {
		file := filepath.Join(folder, path.Base(p.Path))
		r, err := store.Open(b.Context(), p.Digest())
		check(b, err)
		w, err := os.Create(file)
		check(b, err)
		_, err = io.Copy(w, r)
		check(b, err)
		check(b, w.Close())
		_ = r.Close()
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: nobody\nFilename: ./%s\nSize: %d\nSHA256: %s\n\n",
			p.Name, p.Version, p.Architecture, path.Base(file), p.Size, p.SHA256)
		list = append(list, p.Name)
	}
	check(b, os.WriteFile(filepath.Join(folder, "Packages"), []byte(index.String()), 0o644))
	return folder, strings.Join(list, ",")
}
