package machine

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/image/transport"
	"holdfast/internal/oci"
	"holdfast/internal/wiring"
)

// program names the skopeo to ask.
const program = "HOLDFAST_TEST_SKOPEO"

// provided serves the site's key provider to skopeo, and gives its address.
func (b *bench) provided(t *testing.T, address, keyDir string) {
	t.Helper()
	if os.Getenv(program) == "" {
		t.Skip("needs a skopeo with key providers, which Debian 12's has not: make test builds one; or give its path in " + program)
	}
	l, owner, err := wiring.ListenForKeys(address)
	check(t, err)
	p := wiring.KeyProvider(b.admin, keyDir)
	p.Unwraps = owner
	if !owner {
		address = l.Addr().String()
	}
	done := make(chan error, 1)
	go func() { done <- p.Serve(t.Context(), l) }()
	t.Cleanup(func() { check(t, <-done) }) // the context ends before
	file := filepath.Join(t.TempDir(), "ocicrypt.conf")
	check(t, os.WriteFile(file, fmt.Appendf(nil, `{"key-providers":{"attestation-agent":{"grpc":%q}}}`, address), 0o600))
	t.Setenv("OCICRYPT_KEYPROVIDER_CONFIG", file)
}

func skopeo(t *testing.T, args ...string) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), os.Getenv(program), append([]string{"copy", "--insecure-policy"}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("skopeo %v: %w: %s", args, err, out)
	}
	return err
}

// plain is an image of two layers, a file in each.
func plain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(mediaType string, raw []byte) v1.Descriptor {
		d := digest.FromBytes(raw)
		check(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", d.Encoded()), raw, 0o644))
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))}
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	config := v1.Image{Platform: v1.Platform{Architecture: "amd64", OS: "linux"}, RootFS: v1.RootFS{Type: "layers"}}
	for _, name := range []string{"one", "two"} {
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		check(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name))}))
		_, err := w.Write([]byte(name))
		check(t, err)
		check(t, w.Close())
		d := put(v1.MediaTypeImageLayer, layer.Bytes())
		manifest.Layers, config.RootFS.DiffIDs = append(manifest.Layers, d), append(config.RootFS.DiffIDs, d.Digest)
	}
	marshal := func(v any) []byte {
		raw, err := json.Marshal(v)
		check(t, err)
		return raw
	}
	manifest.Config = put(v1.MediaTypeImageConfig, marshal(config))
	m := put(v1.MediaTypeImageManifest, marshal(manifest))
	m.Annotations = map[string]string{v1.AnnotationRefName: "v1"}
	check(t, os.WriteFile(filepath.Join(dir, "index.json"), marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{m}}), 0o644))
	check(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	return dir
}

// kids are the keys that an image needs, and its digest.
func kids(t *testing.T, layout string) (list []string, d oci.Digest) {
	t.Helper()
	img, err := transport.Inspect(t.Context(), transport.LayoutRef(layout, "v1"), transport.Options{})
	check(t, err)
	for _, l := range img.Layers {
		if !l.Encrypted || len(l.Keys) != 1 {
			t.Fatalf("layer %s: %+v", l.Digest, l)
		}
		list = append(list, strings.TrimPrefix(l.Keys[0].ID, "kbs:///"))
	}
	return list, oci.Digest(img.Digest)
}

// skopeo encrypts with our provider, and a machine that proves itself decrypts:
// with one key by name for all layers, with a new one for each, and with a key
// of the client's.
func TestWhatSkopeoEncryptsAMachineDecrypts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("layers are unpacked by root: run as root")
	}
	b := newSite(t)
	keyDir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(keyDir, "kek"), bytes.Repeat([]byte{9}, 32), 0o600))
	b.provided(t, "127.0.0.1:0", keyDir)
	for name, c := range map[string]struct {
		parameters string
		keys       int
	}{
		"named":  {"keyid=kbs:///default/key/skopeo", 1},
		"new":    {"sample=false", 2},
		"a-file": {"keypath=" + keyDir + "/kek::keyid=/default/key/file::algorithm=A256GCM", 1},
	} {
		layout := filepath.Join(b.installation.Registry(), name)
		check(t, skopeo(t, "--encryption-key", "provider:attestation-agent:"+c.parameters, "oci:"+plain(t)+":v1", "oci:"+layout+":v1"))
		list, d := kids(t, layout)
		if (list[0] == list[1]) != (c.keys == 1) {
			t.Errorf("%s: got keys %v", name, list)
		}
		b.boot(t, api.GuestConfig{Image: "registry.example/" + name + "@" + string(d)}, list...)
		root, err := Puller{Attester: b.attester, Config: b.config, Document: b.document, Dir: t.TempDir()}.Pull(t.Context())
		check(t, err)
		for _, file := range []string{"one", "two"} {
			if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(got) != file {
				t.Errorf("%s: got %q, %v, want %s", name, got, err, file)
			}
		}
	}
	if err := skopeo(t, "--encryption-key", "provider:attestation-agent:sample=true", "oci:"+plain(t)+":v1", "oci:"+t.TempDir()+":v1"); err == nil ||
		!strings.Contains(err.Error(), "known to everybody") {
		t.Errorf("the sample key: got %v", err)
	}
}

// What we encrypt, skopeo decrypts for whoever owns the provider's socket.
func TestWhatWeEncryptSkopeoDecryptsForTheOwnerAlone(t *testing.T) {
	b := newSite(t)
	from, layout := plain(t), t.TempDir()
	_, err := wiring.Encrypt(t.Context(), b.admin, wiring.Encryption{
		Source: transport.LayoutRef(from, "v1"), Target: transport.LayoutRef(layout, "v1"), Recipients: []string{"kbs:///default/key/ours"},
	})
	check(t, err)
	decrypt := func() (string, error) {
		into := t.TempDir()
		return into, skopeo(t, "--decryption-key", "provider:attestation-agent:unused", "oci:"+layout+":v1", "oci:"+into+":v1")
	}
	b.provided(t, "127.0.0.1:0", "")
	if _, err := decrypt(); err == nil || !strings.Contains(err.Error(), "owner of a unix socket") {
		t.Errorf("over TCP: got %v", err)
	}
	b.provided(t, "unix://"+filepath.Join(t.TempDir(), "keys.sock"), "")
	into, err := decrypt()
	check(t, err)
	want, err := transport.Inspect(t.Context(), transport.LayoutRef(from, "v1"), transport.Options{})
	check(t, err)
	got, err := transport.Inspect(t.Context(), transport.LayoutRef(into, "v1"), transport.Options{})
	check(t, err)
	for i, l := range got.Layers {
		if l.Encrypted || len(got.Layers) != len(want.Layers) {
			t.Errorf("layer %d: got %+v", i, l)
		}
	}
	check(t, b.admin.DeleteResource(t.Context(), "default/key/ours"))
	if _, err := decrypt(); err == nil {
		t.Error("it was decrypted without the key")
	}
}
