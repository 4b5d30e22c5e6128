package main

import (
	"archive/tar"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

const imageSize = 500 << 20

// BenchmarkDecryptUnpack turns an encrypted image of 500 MB of this machine's
// files into a folder, in turn with skopeo and tar. The floor is what the three
// algorithms take for the same bytes, one after the other, with no file written.
func BenchmarkDecryptUnpack(b *testing.B) {
	needs(b, "skopeo", "tar", "zstd", "openssl")
	if os.Geteuid() != 0 {
		b.Skip("unpacks files with their owners: run as root")
	}
	dir := b.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	packed := pack(b)
	writeLayout(b, at("plain"), packed)
	command(b, "openssl", "genrsa", "-out", at("key"), "2048")
	command(b, "openssl", "rsa", "-in", at("key"), "-pubout", "-out", at("pem"))
	holdfast(b, "image", "encrypt", "oci:"+at("plain"), "oci:"+at("secret"), "-r", "jwe:"+at("pem"))
	var ours, theirs, least samples
	for b.Loop() {
		ours = append(ours, timed(b, func() {
			holdfast(b, "image", "unpack", "oci:"+at("secret"), at("ours"), "--key", at("key"))
		}))
		theirs = append(theirs, timed(b, func() { skopeo(b, at) }))
		least = append(least, timed(b, func() { floor(b, packed) }))
		for _, name := range []string{"ours", "theirs", "copy"} {
			check(b, os.RemoveAll(at(name)))
		}
	}
	b.ReportMetric(ours.median(), "ours-s")
	b.ReportMetric(theirs.median(), "theirs-s")
	b.ReportMetric(least.median(), "floor-s")
	b.ReportMetric(ours.ratio(theirs), "ratio")
	b.ReportMetric(ours.ratio(least), "over-floor")
}

func skopeo(b *testing.B, at func(string) string) {
	command(b, "skopeo", "copy", "--quiet", "--decryption-key", at("key"), "oci:"+at("secret"), "oci:"+at("copy"))
	check(b, os.Mkdir(at("theirs"), 0o755))
	blobs, err := filepath.Glob(at("copy/blobs/sha256/*"))
	check(b, err)
	for _, blob := range blobs {
		if info, err := os.Stat(blob); err == nil && info.Size() > 1<<20 {
			command(b, "tar", "--zstd", "-xf", blob, "-C", at("theirs"))
		}
	}
}

// floor authenticates, decrypts and decompresses packed.
func floor(b *testing.B, packed []byte) {
	mac := hmac.New(sha256.New, make([]byte, 32))
	_, _ = mac.Write(packed)
	block, err := aes.NewCipher(make([]byte, 32))
	check(b, err)
	plain := make([]byte, len(packed))
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(plain, packed)
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
	check(b, err)
	defer z.Close()
	_, err = io.Copy(io.Discard, z)
	check(b, err)
}

// pack is a layer of programs and libraries of this machine.
func pack(b *testing.B) []byte {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	check(b, err)
	w := tar.NewWriter(z)
	left := int64(imageSize)
	for _, top := range []string{"/usr/lib", "/usr/bin", "/usr/share"} {
		check(b, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			info, infoErr := d.Info()
			if err != nil || infoErr != nil || !info.Mode().IsRegular() || info.Size() > left {
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			left -= int64(len(content))
			h := &tar.Header{Typeflag: tar.TypeReg, Name: path[1:], Mode: 0o755, Size: int64(len(content))}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			_, err = w.Write(content)
			return err
		}))
	}
	check(b, w.Close())
	check(b, z.Close())
	if left > imageSize/2 {
		b.Skip("this machine has not enough files to make an image of")
	}
	return out.Bytes()
}

func writeLayout(b *testing.B, dir string, packed []byte) {
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		static.NewLayer(packed, types.OCILayerZStd))
	check(b, err)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	config, err := img.ConfigFile()
	check(b, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	check(b, err)
	index, err := layout.Write(dir, empty.Index)
	check(b, err)
	check(b, index.AppendImage(img))
}
