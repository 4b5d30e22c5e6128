package oci

import (
	_ "crypto/sha512" // for go-digest
	"testing"

	"github.com/opencontainers/go-digest"
)

// A digest that is accepted is one for the specification's own library too,
// and is written as it was read.
//
//fuzz:parser oci.go
func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")
	f.Add(string(digest.SHA512.FromString("")))
	f.Add("sha256:../../etc/passwd")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			return
		}
		theirs, err := digest.Parse(s)
		if err != nil || theirs.Algorithm().String() != d.Algorithm() || theirs.Encoded() != d.Hex() || d.Algorithm()+":"+d.Hex() != s {
			t.Errorf("%q became %q of %q, go-digest says %v", s, d.Hex(), d.Algorithm(), err)
		}
		if len(d.Short()) != 12 {
			t.Errorf("short form %q", d.Short())
		}
	})
}
