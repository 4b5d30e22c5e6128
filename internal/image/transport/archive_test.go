package transport

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
)

// A file of an archive; link makes it a symbolic link.
type file struct {
	name    string
	content []byte
	link    string
}

func archiveOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if f.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// dockerConfig1 is a config of layers with the given contents.
func dockerConfig1(t testing.TB, contents ...[]byte) []byte {
	t.Helper()
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	config.RootFS.Type = "layers"
	for _, content := range contents {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(oci.SHA256(content)))
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func fromStdin(t testing.TB, archive []byte) (Image, error) {
	t.Helper()
	return Inspect(t.Context(), Ref{Kind: Archive, Path: "-"}, Options{Stdin: bytes.NewReader(archive), TempDir: t.TempDir()})
}

// Docker writes a layer that repeats as a link, classic stores write plain
// tar and containerd's gzip, and the manifest may come first or last.
func TestArchivesOfEveryDockerAreRead(t *testing.T) {
	layer := tarOf(t, "a", 50_000)
	config := dockerConfig1(t, layer, layer)
	manifest := file{"manifest.json", []byte(`[{"Config":"c.json","RepoTags":["app:v1"],"Layers":["1/layer.tar","2/layer.tar"]}]`), ""}
	body := []file{{"c.json", config, ""}, {"1/layer.tar", layer, ""}, {"2/layer.tar", nil, "../1/layer.tar"}}
	packed := []file{{"c.json", config, ""}, {"1/layer.tar", gzipLayer.pack(t, layer), ""}, {"2/layer.tar", zstdLayer.pack(t, layer), ""}}
	var want oci.Digest
	for what, archive := range map[string][]byte{
		"manifest last": archiveOf(t, append(body, manifest)...), "manifest first": archiveOf(t, append([]file{manifest}, body...)...),
		"packed layers": archiveOf(t, append(packed, manifest)...), "packed whole": gzipLayer.pack(t, archiveOf(t, append(body, manifest)...)),
	} {
		image, err := fromStdin(t, archive)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if want == "" {
			want = image.Digest
		}
		if image.Digest != want || len(image.Layers) != 2 || image.Layers[0].MediaType != ocispec.MediaTypeImageLayerZstd {
			t.Errorf("%s: got %s with %+v, want %s", what, image.Digest, image.Layers, want)
		}
	}
}

func TestBadArchivesAreRefused(t *testing.T) {
	layer := tarOf(t, "a", 1000)
	one := func(config []byte, name string) []byte {
		return archiveOf(t, file{"manifest.json", []byte(`[{"Config":"c.json","Layers":["` + name + `"]}]`), ""},
			file{"c.json", config, ""}, file{"l.tar", layer, ""}, file{"loop", nil, "loop"}, file{"out", nil, "../../../../../../etc/passwd"})
	}
	good := one(dockerConfig1(t, layer), "l.tar")
	if _, err := fromStdin(t, good); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"not a tar":      {[]byte(strings.Repeat("no tar ", 200)), "not a tar archive"},
		"empty":          {nil, "manifest.json"},
		"no manifest":    {archiveOf(t, file{"x", nil, ""}), "no file \"manifest.json\""},
		"truncated":      {good[:len(good)/2], ""},
		"no such layer":  {one(dockerConfig1(t, layer), "m.tar"), "m.tar"},
		"outside":        {one(dockerConfig1(t, layer), "../../../etc/passwd"), "no file"},
		"link outside":   {one(dockerConfig1(t, layer), "out"), "no file"},
		"link to itself": {one(dockerConfig1(t, layer), "loop"), "no file"},
		"other content":  {one(dockerConfig1(t, []byte("x")), "l.tar"), "content does not match its digest"},
		"other count":    {one(dockerConfig1(t, layer, layer), "l.tar"), "lists 1 layers and the config 2"},
		"other platform": {one([]byte(strings.Replace(string(dockerConfig1(t, layer)), "linux", "windows", 1)), "l.tar"), "no image for linux/amd64"},
		"config no JSON": {one([]byte("{"), "l.tar"), "c.json"},
	} {
		if _, err := fromStdin(t, c.archive); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", what, err, c.want)
		}
	}
}

func TestArchiveOfSeveralImagesWantsAName(t *testing.T) {
	a, b := tarOf(t, "a", 1000), tarOf(t, "b", 1000)
	raw := archiveOf(t, file{"manifest.json", []byte(`[{"Config":"a.json","RepoTags":["app:a"],"Layers":["a.tar"]},{"Config":"b.json","RepoTags":["app:b"],"Layers":["b.tar"]}]`), ""},
		file{"a.json", dockerConfig1(t, a), ""}, file{"b.json", dockerConfig1(t, b), ""}, file{"a.tar", a, ""}, file{"b.tar", b, ""})
	path := filepath.Join(t.TempDir(), "two.tar")
	write(t, path, raw)
	if _, err := Inspect(t.Context(), source1(t, path), Options{}); err == nil || !strings.Contains(err.Error(), "name one: app:a, app:b") {
		t.Errorf("got %v, want the names", err)
	}
	if got := inspect(t, "docker-archive:"+path+":app:b"); got.Layers[0].DiffID != oci.SHA256(b) {
		t.Errorf("got %+v, want the second image", got.Layers)
	}
}

func TestConversionLeavesNothingBehind(t *testing.T) {
	layer, tmp := tarOf(t, "a", 1000), t.TempDir()
	raw := archiveOf(t, file{"manifest.json", []byte(`[{"Config":"c.json","Layers":["l.tar"]}]`), ""}, file{"c.json", dockerConfig1(t, layer), ""}, file{"l.tar", layer, ""})
	for _, archive := range [][]byte{raw, raw[:len(raw)-3000], nil} {
		_, _ = Inspect(t.Context(), Ref{Kind: Archive, Path: "-"}, Options{Stdin: bytes.NewReader(archive), TempDir: tmp})
		if left, _ := os.ReadDir(tmp); len(left) != 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
	if _, err := fromStdin(t, nil); errors.Is(err, io.EOF) {
		t.Error("an empty archive ends in a bare EOF")
	}
}
