package guest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

// Whatever a layer holds, applied over one that sets traps: nothing outside
// the tree is made, altered or linked to.
//
//fuzz:parser unpack.go tree.go whiteout.go entry.go
func FuzzUnpack(f *testing.F) {
	needRoot(f)
	for _, l := range layered(f) {
		f.Add(l)
	}
	f.Add(archive(f, hardlink("x", "up/outside"), file("x", "y"), symlink("d/.wh.", "a")))
	f.Fuzz(func(t *testing.T, layer []byte) {
		rootfs, _ := apply(t, archive(t, symlink("up", ".."), folder("d"), symlink("d/abs", "/../..")), layer)
		checkOutside(t, rootfs)
	})
}

func checkOutside(t *testing.T, rootfs string) {
	t.Helper()
	outside := filepath.Join(filepath.Dir(rootfs), "outside")
	info, err := os.Lstat(outside)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(outside)
	if err != nil || string(b) != "untouched" || info.Mode() != 0o600 || info.Sys().(*syscall.Stat_t).Nlink != 1 {
		t.Errorf("a file outside is %q with mode %v, %v", b, info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(rootfs)); len(entries) != 2 {
		t.Errorf("%d files beside the root, want 1", len(entries)-1)
	}
}

// Mutations of a whole tar mostly break it, so here the fuzzer picks entries.
//
//fuzz:parser unpack.go tree.go whiteout.go entry.go
func FuzzEntries(f *testing.F) {
	needRoot(f)
	f.Add("up/outside", byte(tar.TypeReg), "", "x", byte(tar.TypeLink), "up/outside", int64(0o4755))
	f.Add("a/b", byte(tar.TypeSymlink), "../..", "a/b/outside", byte(tar.TypeReg), "", int64(0o644))
	f.Add("d/.wh..wh..opq", byte(tar.TypeReg), "", ".wh.d", byte(tar.TypeReg), "", int64(0))
	f.Add("/dev/sda", byte(tar.TypeBlock), "", "f", byte(tar.TypeFifo), "", int64(0o777))
	f.Add(".", byte(tar.TypeDir), "", "d/..", byte(tar.TypeSymlink), "x", int64(0o700))
	f.Fuzz(func(t *testing.T, name1 string, type1 byte, link1, name2 string, type2 byte, link2 string, mode int64) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []*tar.Header{
			{Name: name1, Typeflag: type1, Linkname: link1, Mode: mode & 0o7777, Format: tar.FormatPAX},
			{Name: name2, Typeflag: type2, Linkname: link2, Mode: mode & 0o7777, Format: tar.FormatPAX},
		} {
			if err := w.WriteHeader(h); err != nil {
				return // a header that tar cannot hold
			}
		}
		_ = w.Close()
		rootfs, _ := apply(t, archive(t, symlink("up", ".."), folder("d"), file("d/f", "x"), symlink("abs", "/")), b.Bytes())
		checkOutside(t, rootfs)
	})
}

// A shelf without a server: it gives any document under its own digest.
type quickShelf struct{ content map[oci.Digest][]byte }

func (s quickShelf) RoundTrip(r *http.Request) (*http.Response, error) {
	b, ok := s.content[oci.Digest(filepath.Base(r.URL.Path))]
	status := http.StatusOK
	if !ok {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, nil
}

func (s quickShelf) put(b []byte) oci.Digest {
	d := oci.SHA256(b)
	s.content[d] = b
	return d
}

const goodManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"CONFIG","size":10},` +
	`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd+encrypted","digest":"CONFIG","size":10,"annotations":{"org.opencontainers.image.enc.pubopts":"e30="}}]}`

// A manifest that names a config, by way of an index or not: what is taken is
// for this machine and has layers. CONFIG in the manifest becomes the config's
// digest and MANIFEST in the index the manifest's, so that all of them are read.
//
//fuzz:parser image.go registry.go:document,get,open,parseName
func FuzzImage(f *testing.F) {
	platform := `"os":"linux","architecture":"` + runtime.GOARCH + `"`
	config := `{` + platform + `,"config":{"User":"0:0","Env":["A=b"],"Entrypoint":["/x"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":[]}}`
	f.Add([]byte(nil), []byte(goodManifest), []byte(config))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"MANIFEST","size":1,"platform":{`+platform+`}}]}`),
		[]byte(goodManifest), []byte(config))
	f.Add([]byte(`{"manifests":[{},{"platform":null}]}`), []byte(goodManifest), []byte(config))
	f.Fuzz(func(t *testing.T, index, manifest, config []byte) {
		s := quickShelf{map[oci.Digest][]byte{}}
		manifest = bytes.ReplaceAll(manifest, []byte("CONFIG"), []byte(s.put(config)))
		top := s.put(manifest)
		if len(index) > 0 {
			top = s.put(bytes.ReplaceAll(index, []byte("MANIFEST"), []byte(top)))
		}
		r, err := newRegistry(api.GuestConfig{Image: "registry:5000/team/app@" + string(top), Registry: api.Endpoint{URL: "https://registry:5000"}}, &http.Client{Transport: s}, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.image(t.Context())
		if err != nil {
			return
		}
		if i.config.OS != "linux" || i.config.Architecture != runtime.GOARCH || len(i.manifest.Layers) == 0 || len(i.manifest.Layers) > maxLayers {
			t.Errorf("took %+v with %d layers", i.config, len(i.manifest.Layers))
		}
		if d, err := checkDigest(i.manifest.Config); err != nil || s.content[d] == nil {
			t.Errorf("took config %q, %v", i.manifest.Config.Digest, err)
		}
		checkSpec(t, i.config.Config)
	})
}

// checkSpec builds the container that a foreign config asks for.
func checkSpec(t *testing.T, config v1.ImageConfig) {
	s, err := spec{image: config, process: api.Process{Args: []string{"x"}}, user: user{uid: 1}}.build()
	if err != nil {
		t.Errorf("no container: %v", err)
		return
	}
	if c := s.Process.Capabilities; len(c.Effective)+len(c.Permitted)+len(c.Ambient)+len(c.Inheritable) > 0 || !s.Process.NoNewPrivileges {
		t.Errorf("a user has capabilities: %+v", c)
	}
	if !filepath.IsAbs(s.Process.Cwd) || filepath.Clean(s.Process.Cwd) != s.Process.Cwd {
		t.Errorf("working folder %q", s.Process.Cwd)
	}
	if len(s.Mounts) != len(kernelMounts()) || s.Linux.Seccomp == nil {
		t.Errorf("an image changed its confinement: %+v", s.Mounts)
	}
}

//fuzz:parser registry.go:parseName
func FuzzImageName(f *testing.F) {
	f.Add("registry:5000/team/app@sha256:" + strings.Repeat("0", 64))
	f.Add("r/../app@sha256:" + strings.Repeat("0", 64))
	f.Add("r/a@sha512:" + strings.Repeat("0", 128))
	f.Fuzz(func(t *testing.T, name string) {
		n, err := parseName(name)
		if err != nil {
			return
		}
		end := "/" + n.Path()
		if n.Tag != "" {
			end += ":" + n.Tag
		}
		if n.Digest != "" {
			end += "@" + string(n.Digest)
		}
		if !strings.HasSuffix(name, end) || slices.Contains(strings.Split(n.Path(), "/"), "..") || n.Tag == "" && n.Digest.Algorithm() != "sha256" {
			t.Errorf("%q became %+v", name, n)
		}
	})
}

// A layer of any media type: decompression makes what the bytes say, and no
// more than is read.
//
//fuzz:parser layer.go:decompress
func FuzzDecompress(f *testing.F) {
	plain := archive(f, file("a", "b"))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(plain)
	_ = w.Close()
	f.Add(plainLayer, plain)
	f.Add(gzipLayer, zipped.Bytes())
	f.Add(zstdLayer+enc.Suffix, []byte("\x28\xb5\x2f\xfd\x24\x01\x01\x00\x00a\x00\x00\x00\x00"))
	f.Add("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", []byte(nil))
	f.Fuzz(func(t *testing.T, mediaType string, b []byte) {
		r, err := decompress(bytes.NewReader(b), mediaType)
		if err != nil {
			return
		}
		got, err := io.ReadAll(io.LimitReader(r, 1<<20))
		_ = r.Close()
		if strings.HasSuffix(strings.TrimSuffix(mediaType, enc.Suffix), ".tar") && (err != nil || !bytes.Equal(got, b)) {
			t.Errorf("%q: %d bytes became %d, %v", mediaType, len(b), len(got), err)
		}
	})
}

// The accounts are the image's own: a user that is found has the numbers of a
// line, or those in its name.
//
//fuzz:parser user.go
func FuzzUser(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/app:\n", "app:x:1001:\nextra:x:7:app,root\n", "app:extra")
	f.Add("a:::::::\n::::::\n", "::\n", "4294967295")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, passwd, group, name string) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(dir, "etc", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tree, err := openTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		u, err := lookUp(tree, name)
		if err != nil {
			return
		}
		if u.uid > 1<<31-1 || u.gid > 1<<31-1 || u.home != "" && !strings.Contains(passwd, u.home) {
			t.Errorf("%q is %+v", name, u)
		}
		if who, _, _ := strings.Cut(name, ":"); u.uid == 0 && who != "" && !strings.Contains(passwd+name, "0") {
			t.Errorf("%q is root", name)
		}
	})
}

// A whole layer as a manifest describes it, altered on its way: only the bytes
// that the descriptor names are unpacked.
//
//fuzz:parser verify.go
func FuzzVerify(f *testing.F) {
	good := []byte("some layer of some length")
	f.Add(good, int64(len(good)))
	f.Add(good[:5], int64(len(good)))
	f.Add(append(bytes.Clone(good), 'x'), int64(len(good)))
	f.Add(good, int64(-1))
	f.Add(good, int64(1<<63-1))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		got, err := io.ReadAll(verify(bytes.NewReader(b), oci.SHA256(good), size))
		if err == nil && (!bytes.Equal(got, good) || size != int64(len(good))) {
			t.Errorf("%q of size %d passed as %q", b, size, got)
		}
		var d v1.Descriptor
		if json.Unmarshal(b, &d) == nil {
			if named, err := checkDigest(d); err == nil && digest.Digest(named).Validate() != nil {
				t.Errorf("digest %q", named)
			}
		}
	})
}
