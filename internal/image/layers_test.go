package image

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/blob/dir"
	"holdfast/internal/deb"
	"holdfast/internal/deb/debtest"
	"holdfast/internal/image/recipe"
)

// todaysArchive is the archive of this machine's apt sources.
func todaysArchive(t *testing.T) (*deb.Archive, *dir.Store) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Debian mirror: run without -short")
	}
	sources, err := deb.ReadSources("/etc/apt")
	check(t, err)
	store, err := dir.New(filepath.Join(t.TempDir(), "store"))
	check(t, err)
	archive, err := deb.New(deb.Config{Store: store, Sources: sources, Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg"})
	check(t, err)
	return archive, store
}

// locked is a recipe with a lock of today.
func locked(t *testing.T, archive *deb.Archive, store *dir.Store, path string) Options {
	t.Helper()
	r, err := recipe.Load(path)
	check(t, err)
	lock, err := recipe.Locker{Archive: archive}.Lock(t.Context(), r)
	debtest.SkipUnreachable(t, err)
	check(t, err)
	return Options{Recipe: r, Lock: lock, Archive: archive, Store: store, Output: filepath.Join(t.TempDir(), "image")}
}

// otherRecipe takes from libc6 what redis takes, and is locked a year earlier.
func otherRecipe(t *testing.T, redis *recipe.Recipe) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	text := "name: other\nsuite: bookworm\narchitecture: amd64\npackages: [zlib1g]\n" +
		"exclude: [debconf, gcc-12-base, libcrypt1]\nremove:\n"
	for _, glob := range redis.Remove {
		text += "  - '" + glob + "'\n"
	}
	text += "files: [{path: /etc/other, content: x}]\n"
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTwoImagesShareTheBaseLayer(t *testing.T) {
	archive, store := todaysArchive(t)
	redis := locked(t, archive, store, filepath.Join("..", "..", "images", "redis"))
	other := locked(t, archive, store, otherRecipe(t, redis.Recipe))
	other.Lock.Date = other.Lock.Date.AddDate(-1, 0, 0)
	one, err := BuildOCI(t.Context(), OCIOptions{Options: redis})
	check(t, err)
	two, err := BuildOCI(t.Context(), OCIOptions{Options: other})
	check(t, err)
	names := func(r *OCIResult) (names []string) {
		for _, l := range r.Layers {
			names = append(names, l.Name)
		}
		return names
	}
	if got := names(one); !slices.Equal(got, []string{"base", "dependencies", "packages", "files"}) {
		t.Errorf("redis has the layers %q", got)
	}
	if got := names(two); !slices.Equal(got, []string{"base", "packages", "files"}) {
		t.Errorf("the other image has the layers %q", got)
	}
	if a, b := one.Layers[0], two.Layers[0]; a != b || a.Size < 1e5 {
		t.Errorf("got base layers %+v and %+v, want one and the same", a, b)
	}
	t.Run("umoci unpacks the tree", func(t *testing.T) { umociUnpacksTheTree(t, redis, one) })
}

// umociUnpacksTheTree compares what umoci makes of the layers with what GNU
// tar makes of the tree in one piece.
func umociUnpacksTheTree(t *testing.T, o Options, made *OCIResult) {
	t.Helper()
	needs(t, "umoci", "umoci")
	if os.Getuid() != 0 {
		t.Skip("needs root to keep owners: run as root")
	}
	b, err := newBuild(t.Context(), o)
	check(t, err)
	defer b.close()
	tr, err := b.tree(t.Context())
	check(t, err)
	whole, bundle := t.TempDir(), filepath.Join(t.TempDir(), "bundle")
	extract(t, b, tr, whole)
	copied := filepath.Join(t.TempDir(), "gzip") // Debian 12's umoci reads no zstd
	needs(t, "skopeo", "skopeo")
	run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--dest-compress-format", "gzip", "oci:"+made.Dir+":latest", "oci:"+copied+":latest")
	run(t, "umoci", "unpack", "--image", copied+":latest", bundle)
	if got, want := listing(t, filepath.Join(bundle, "rootfs")), listing(t, whole); got != want {
		t.Errorf("umoci's tree differs from ours:\n%s", diff(t, got, want))
	}
}

// listing is every path with its type, mode, owner, size and target, and the
// digest of each file.
func listing(t *testing.T, dir string) string {
	t.Helper()
	list := run(t, "find", dir, "-mindepth", "1", "-printf", `%P %y %m %U %G %l\n`)
	sums := run(t, "sh", "-c", `cd "$0" && find . -type f -print0 | xargs -0 sha256sum`, dir)
	lines := strings.Split(string(list)+string(sums), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func diff(t *testing.T, got, want string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, errors.Join(os.WriteFile(filepath.Join(dir, "got"), []byte(got), 0o600), os.WriteFile(filepath.Join(dir, "want"), []byte(want), 0o600)))
	out, _ := exec.Command("diff", "-u", filepath.Join(dir, "want"), filepath.Join(dir, "got")).Output()
	return string(out)
}
