package transport

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/registry"
)

const noteType = "application/vnd.example.note"

// annotate has a note refer to the image called name in the layout at dir.
func annotate(t testing.TB, dir, name, text string) {
	t.Helper()
	img := inspect(t, "oci:"+dir+":"+name)
	w, err := createLayout(t.Context(), LayoutRef(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	empty, err := w.add(t.Context(), ocispec.MediaTypeEmptyJSON, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	note, err := w.add(t.Context(), noteType, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	m := ocispec.Manifest{ArtifactType: noteType, Config: empty, Layers: []ocispec.Descriptor{note}}
	a, err := artifact{desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: noteType}, manifest: m}.
		about(ocispec.Descriptor{MediaType: img.MediaType, Digest: digest.Digest(img.Digest), Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.attach(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	src, err := open(t.Context(), LayoutRef(dir, name), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.tag(t.Context(), src.desc, src.raw); err != nil {
		t.Fatal(err)
	}
}

// notes are what refers to the image, as text.
func notes(t testing.TB, ref string) string {
	t.Helper()
	src, err := Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, contents, err := Attached(t.Context(), src, noteType, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Referrers) != len(contents) {
		t.Errorf("%s: %d referrers and %d notes", ref, len(img.Referrers), len(contents))
	}
	return string(bytes.Join(contents, []byte(" ")))
}

func carry(t testing.TB, src, dst string) Result {
	t.Helper()
	from, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseTarget(dst)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Copy(t.Context(), from, to, Options{Referrers: true})
	if err != nil {
		t.Fatalf("%s to %s: %v", src, dst, err)
	}
	return r
}

func TestWhatRefersToAnImageGoesAlong(t *testing.T) {
	host, dir, back := serve(t), t.TempDir(), t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	annotate(t, dir, "v1", "one")
	for _, step := range [][2]string{
		{"oci:" + dir + ":v1", host + "/a/app:v1"},
		{host + "/a/app:v1", host + "/b/app:v2"},
		{host + "/b/app:v2", "oci:" + back + ":back"},
		{"oci:" + back + ":back", "oci:" + t.TempDir()},
	} {
		r := carry(t, step[0], step[1])
		if len(r.Referrers) != 1 || notes(t, step[1]) != "one" {
			t.Errorf("%s to %s: got %+v, want the note", step[0], step[1], r.Referrers)
		}
	}
	copyImage(t, host+"/a/app:v1", host+"/c/app:v1")
	if got := notes(t, host+"/c/app:v1"); got != "" {
		t.Errorf("without being asked: got %q carried along", got)
	}
}

// plainRegistry has no referrers API, as older ones have none.
func plainRegistry(t *testing.T) string {
	t.Helper()
	r, err := registry.New(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/referrers/") {
			http.NotFound(w, q)
			return
		}
		r.ServeHTTP(w, q)
	}))
	t.Cleanup(func() { server.Close(); _ = r.Close() })
	return strings.TrimPrefix(server.URL, "http://")
}

func TestATagStandsForTheReferrersAPIWhereThereIsNone(t *testing.T) {
	host, dir, out := plainRegistry(t), t.TempDir(), t.TempDir()
	digest := sample(t, dir, "v1", "amd64", gzipLayer).Digest
	annotate(t, dir, "v1", "one")
	carry(t, "oci:"+dir+":v1", host+"/app:v1")
	q, err := http.NewRequest(http.MethodGet, "http://"+host+"/v2/app/manifests/sha256-"+digest.Encoded(), nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", ocispec.MediaTypeImageIndex)
	answer, err := http.DefaultClient.Do(q)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %v, %v, want the list", q.URL, answer, err)
	}
	defer answer.Body.Close()
	carry(t, host+"/app:v1", "oci:"+out+":v1")
	if got := notes(t, "oci:"+out+":v1"); got != "one" {
		t.Errorf("got %q, want the note", got)
	}
}

// skopeo copies all tags of a repository to a layout, and so the tag that
// lists the referrers; there is no other way to have it carry them.
func TestReferrersThatSkopeoCopiedAreFound(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo: apt-get install skopeo (make test installs it)")
	}
	host, dir, out := plainRegistry(t), t.TempDir(), filepath.Join(t.TempDir(), "out")
	digest := sample(t, dir, "v1", "amd64", gzipLayer).Digest
	annotate(t, dir, "v1", "one")
	carry(t, "oci:"+dir+":v1", host+"/app:v1")
	for _, tag := range []string{"v1", "sha256-" + digest.Encoded()} {
		cmd := exec.Command("skopeo", "--insecure-policy", "copy", "--quiet", "--multi-arch", "all", "--src-tls-verify=false",
			"docker://"+host+"/app:"+tag, "oci:"+out+":"+tag)
		if raw, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("skopeo copy %s: %v: %s", tag, err, raw)
		}
	}
	if got := notes(t, "oci:"+out+":v1"); got != "one" {
		t.Errorf("got %q, want the note", got)
	}
}

func TestEncryptedImagesSayNothingOfWhatIsInside(t *testing.T) {
	dir, sealed, told, plain := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	annotate(t, dir, "v1", "one")
	recipients := []enc.Recipient{enc.BrokerRecipient("kbs:///default/key/x", bytes.Repeat([]byte{7}, 32))}
	for to, o := range map[string]Options{sealed: {}, told: {Referrers: true}} {
		if _, err := Encrypt(t.Context(), LayoutRef(dir, "v1"), LayoutRef(to, "v1"), recipients, o); err != nil {
			t.Fatal(err)
		}
	}
	if got := notes(t, "oci:"+sealed+":v1"); got != "" {
		t.Errorf("the encrypted image tells %q", got)
	}
	if got := notes(t, "oci:"+told+":v1"); got != "one" {
		t.Errorf("asked to carry it: got %q, want the note", got)
	}
	keys := []enc.Key{enc.BrokerKey(fixedKey)}
	r, err := Decrypt(t.Context(), LayoutRef(told, "v1"), LayoutRef(plain, "v1"), keys, Options{Referrers: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := notes(t, "oci:"+plain+":v1"); got != "one" || len(r.Referrers) != 1 {
		t.Errorf("decrypted: got %q, want the note", got)
	}
}

func TestAReferrerOfAnotherImageIsRefused(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	annotate(t, dir, "v1", "one")
	src, err := open(t.Context(), LayoutRef(dir, "v1"), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	list, err := src.artifacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	src.desc.Digest = digest.Digest("sha256:" + strings.Repeat("0", 64))
	if _, err := src.artifact(t.Context(), list[0].desc); err == nil || !strings.Contains(err.Error(), "does not refer to") {
		t.Errorf("got %v, want the wrong subject named", err)
	}
}

func TestAnImageThatIsReplacedTakesItsReferrersWithIt(t *testing.T) {
	one, two, out := t.TempDir(), t.TempDir(), t.TempDir()
	sample(t, one, "v1", "amd64", gzipLayer)
	annotate(t, one, "v1", "one")
	sample(t, two, "v1", "amd64", zstdLayer)
	carry(t, "oci:"+one+":v1", "oci:"+out)
	carry(t, "oci:"+one+":v1", "oci:"+out)
	carry(t, "oci:"+two+":v1", "oci:"+out)
	raw, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := notes(t, "oci:"+out); got != "" || bytes.Contains(raw, []byte(noteType)) {
		t.Errorf("the note of the replaced image is left: %s", raw)
	}
}

func fixedKey(context.Context, string) ([]byte, error) { return bytes.Repeat([]byte{7}, 32), nil }
