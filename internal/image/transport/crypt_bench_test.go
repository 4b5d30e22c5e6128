package transport

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

// BenchmarkDecryptLayer is all that a reader of an encrypted layer computes:
// the descriptor's digest, the MAC and the cipher.
func BenchmarkDecryptLayer(b *testing.B) {
	kek := make([]byte, 32)
	e, err := enc.Encrypt(bytes.NewReader(make([]byte, 16<<20)), enc.Config{Recipients: []enc.Recipient{enc.BrokerRecipient("kbs:///a/b/c", kek)}})
	if err != nil {
		b.Fatal(err)
	}
	ciphertext, _ := io.ReadAll(e)
	annotations, err := e.Annotations()
	if err != nil {
		b.Fatal(err)
	}
	options, err := enc.Unwrap(b.Context(), annotations, enc.BrokerKey(func(context.Context, string) ([]byte, error) { return kek, nil }))
	if err != nil {
		b.Fatal(err)
	}
	desc := ocispec.Descriptor{Digest: digest.Digest(oci.SHA256(ciphertext)), Size: int64(len(ciphertext))}
	b.SetBytes(desc.Size)
	for b.Loop() {
		plain, err := enc.Decrypt(verify(io.NopCloser(bytes.NewReader(ciphertext)), desc), options)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, plain); err != nil {
			b.Fatal(err)
		}
	}
}
