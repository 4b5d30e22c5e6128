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
// them. floor-s is the compressor's part of that.
//
// ours-s is a build with what the last build of the same packages left in the
// cache; first-s is one that finds the packages and nothing else of them.
func BenchmarkImageBuild(b *testing.B) {
	needs(b, "mmdebstrap", "mksquashfs")
	for _, k := range []kind{
		{"machine", "machine", "images/guest", "7"},
		{"container", "oci", "images/redis", "11"},
	} {
		b.Run(k.name, k.bench)
	}
}

// A kind of image. Its level is that of zstd's own program which our packer's
// is about equal to, as github.com/klauspost/compress says in its zstd/README:
// "Better" is 7, of the machine's root, and "Best" 11, of container layers.
type kind struct{ name, format, recipe, level string }

func (k kind) bench(b *testing.B) {
	l, err := wiring.LoadLocked(filepath.Join(root, k.recipe), "")
	check(b, err)
	out := b.TempDir()
	k.build(b, state(b).Dir(), filepath.Join(out, "warm"))
	fresh := k.fresh(b, filepath.Join(out, "before"))
	repository, names := archive(b, append(l.Lock.Packages, l.Lock.Boot...))
	var ours, first, theirs, floor samples
	for i := 0; b.Loop(); i++ {
		ours = append(ours, timed(b, func() { k.build(b, state(b).Dir(), filepath.Join(out, fmt.Sprint("ours", i))) }))
		tree, image := filepath.Join(out, "tree"), filepath.Join(out, "image")
		unpacking := timed(b, func() {
			command(b, "mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--include="+names,
				l.Lock.Suite, tree, "deb [trusted=yes] copy:"+repository+" ./")
		})
		floor = append(floor, timed(b, func() {
			command(b, "mksquashfs", tree, image, "-comp", "zstd", "-Xcompression-level", k.level, "-quiet", "-no-progress")
		}))
		theirs = append(theirs, unpacking+floor[i])
		forget(b, fresh)
		first = append(first, timed(b, func() { k.build(b, fresh, filepath.Join(out, fmt.Sprint("first", i))) }))
		check(b, os.RemoveAll(tree))
		check(b, os.Remove(image))
	}
	b.ReportMetric(ours.median(), "ours-s")
	b.ReportMetric(first.median(), "first-s")
	b.ReportMetric(theirs.median(), "theirs-s")
	b.ReportMetric(floor.median(), "floor-s")
	b.ReportMetric(ours.ratio(theirs), "ratio")
	b.ReportMetric(first.ratio(theirs), "first-ratio")
}

func (k kind) build(b *testing.B, state, to string) {
	b.Helper()
	command(b, filepath.Join(root, "bin", "holdfast"), "image", "build", filepath.Join(root, k.recipe), "--format", k.format, "-o", to,
		"--quiet", "--state", state)
}

// fresh is an installation that has the packages of this one, and keys.
func (k kind) fresh(b *testing.B, to string) string {
	b.Helper()
	dir := b.TempDir()
	check(b, os.Mkdir(filepath.Join(dir, "cache"), 0o755))
	check(b, os.Symlink(filepath.Join(state(b).Cache(), "sha256"), filepath.Join(dir, "cache", "sha256")))
	k.build(b, dir, to)
	return dir
}

// forget leaves packages alone in an installation's cache.
func forget(b *testing.B, state string) {
	b.Helper()
	for _, made := range []string{"derived", "blocks"} {
		check(b, os.RemoveAll(filepath.Join(state, "cache", made)))
	}
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
