package clients

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"holdfast/internal/keys"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// times are those that clients put before what they say.
var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.Z+]+|\d+(\.\d+)? ?m?s\b`)

// writeLayout makes an image of one file, by hand, and gives its digest.
func writeLayout(t *testing.T, dir string, content []byte) string {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	l := putBlob(t, dir, "application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%q]}}`, l["digest"])
	c := putBlob(t, dir, "application/vnd.oci.image.config.v1+json", []byte(config))
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	m := putBlob(t, dir, manifestType, marshal(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": c, "layers": []any{l},
	}))
	digest := m["digest"].(string)
	m["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	write(t, filepath.Join(dir, "index.json"), string(marshal(t, map[string]any{"schemaVersion": 2, "manifests": []any{m}})))
	write(t, filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
	return digest
}

func putBlob(t *testing.T, dir, mediaType string, b []byte) map[string]any {
	t.Helper()
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "blobs", "sha256", sum), string(b))
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(b)}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writePair writes a certificate for this machine's own names, and its key.
func writePair(t *testing.T, r *keys.Ring, certFile, keyFile string) {
	t.Helper()
	made, err := r.Server(time.Now(), "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain bytes.Buffer
	for _, der := range made.Certificate {
		_ = pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	write(t, certFile, chain.String())
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

func poolOf(r *keys.Ring) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.Pair(keys.TLS).Certificate)
	return pool
}
