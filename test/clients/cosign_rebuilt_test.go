package clients

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	"holdfast/internal/oci"
	"holdfast/internal/rebuilt"
	"holdfast/internal/sign"
)

// A statement that an image was rebuilt is SLSA provenance to cosign, too: of
// that file and by that key alone.
func TestCosignVerifiesARebuild(t *testing.T) {
	c := newCosign(t)
	write(t, c.path("uki.efi"), "a kernel image")
	write(t, c.path("other.efi"), "another")
	for _, name := range []string{"anna", "bert"} {
		public, private, err := ed25519.GenerateKey(nil)
		c.must(err)
		der, err := x509.MarshalPKIXPublicKey(public)
		c.must(err)
		write(t, c.path(name+".pub"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
		uki, err := os.ReadFile(c.path("uki.efi"))
		c.must(err)
		raw, err := rebuilt.Sign(rebuilt.Rebuild{
			Format: "machine", RootHash: "00", Subjects: []sign.Subject{{Name: "uki.efi", Digest: map[string]string{"sha256": oci.SHA256(uki).Hex()}}},
		}, private)
		c.must(err)
		write(t, c.path(name+".json"), string(raw))
	}
	verify := func(key, statement, file string) error {
		return c.run("verify-blob-attestation", "--key", c.path(key+".pub"), "--signature", c.path(statement+".json"),
			"--type", "slsaprovenance1", "--insecure-ignore-tlog=true", "--new-bundle-format=false", c.path(file))
	}
	c.must(verify("anna", "anna", "uki.efi"))
	if verify("bert", "anna", "uki.efi") == nil {
		t.Error("cosign took it as by another key")
	}
	if verify("anna", "anna", "other.efi") == nil {
		t.Error("cosign took it as about another file")
	}
}

func (c cosign) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}
