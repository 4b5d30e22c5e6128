package transport

import (
	"bytes"
	"crypto/ed25519"
	"path/filepath"
	"testing"

	"holdfast/internal/cosign"
	"holdfast/internal/oci"
)

// recorded are images that cosign itself has signed; its README tells how.
const recorded = "../../cosign/testdata/cosign-3.1.2"

var testSigner = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))

// sign1 puts a signature beside what the reference names.
func sign1(t testing.TB, ref string) oci.Digest {
	t.Helper()
	r := source1(t, ref)
	s, err := Resolve(t.Context(), r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := cosign.Sign(testSigner, s.Digest, "h.example/a:v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds it there
		if _, err := Attach(t.Context(), r, s, Attachment{Type: cosign.BundleType, Content: bundle}, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return s.Digest
}

// signedBy counts the signatures beside what the reference names, of each form,
// and those by our key.
func signedBy(t testing.TB, ref string) (bundles, simple, ours int) {
	t.Helper()
	key, err := cosign.NewKey(testSigner.Public())
	if err != nil {
		t.Fatal(err)
	}
	_, err = InRepository(t.Context(), source1(t, ref), Options{}, func(s Subject, in cosign.Repository) error {
		found, err := cosign.Find(t.Context(), in, s.Digest)
		for _, one := range found.Signatures {
			if one.Format == cosign.Bundle {
				bundles++
			} else {
				simple++
			}
			if _, err := one.Check(s.Digest, []cosign.Key{key}); err == nil {
				ours++
			}
		}
		if len(found.Unread) > 0 {
			t.Errorf("%s: unread: %v", ref, found.Unread)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bundles, simple, ours
}

func wantSigned(t testing.TB, ref string, bundles, simple, ours int) {
	t.Helper()
	if b, s, o := signedBy(t, ref); b != bundles || s != simple || o != ours {
		t.Errorf("%s: got %d bundles, %d of the older form, %d of ours; want %d, %d, %d", ref, b, s, o, bundles, simple, ours)
	}
}

func TestASignatureIsStoredOnceWhereTheImageIs(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	sample(t, dir, "v2", "amd64", plainLayer)
	for name, host := range map[string]string{"with the API of referrers": serve(t), "without": plainRegistry(t)} {
		copyImage(t, "oci:"+dir+":v1", host+"/a:v1")
		sign1(t, host+"/a:v1")
		t.Log(name)
		wantSigned(t, host+"/a:v1", 1, 0, 1)
	}
	sign1(t, "oci:"+dir+":v1")
	wantSigned(t, "oci:"+dir+":v1", 1, 0, 1)
	wantSigned(t, "oci:"+dir+":v2", 0, 0, 0)
}

func TestWhatCosignSignedIsFoundInItsLayout(t *testing.T) {
	wantSigned(t, "oci:"+recorded+":v1", 5, 0, 0)
	wantSigned(t, "oci:"+recorded+":v2", 0, 5, 0)
}

func TestAnIndexIsSignedAsOne(t *testing.T) {
	dir := t.TempDir()
	amd64 := multiarch(t, dir)
	if got := sign1(t, "oci:"+dir+":all"); string(got) == string(amd64) || got == inspect(t, "oci:"+dir+":all").Digest {
		t.Errorf("got %s signed, which is one of its images", got)
	}
	wantSigned(t, "oci:"+dir+":all", 1, 0, 1)
	wantSigned(t, "oci:"+dir+":amd64", 0, 0, 0)
}

func TestSignaturesOfAnImageOrItsIndexAreCopied(t *testing.T) {
	dir, host := t.TempDir(), serve(t)
	multiarch(t, dir)
	index := "oci:" + dir + ":all"
	top := sign1(t, index)
	copyImage(t, "oci:"+dir+":arm64", host+"/a:v1")
	one := sign1(t, host+"/a:v1")
	for _, c := range []struct {
		src                   string
		bundles, simple, ours int
		named                 oci.Digest
	}{
		{index, 1, 0, 1, top}, {host + "/a:v1", 1, 0, 1, one}, {"oci:" + recorded + ":v1", 5, 0, 0, ""}, {"oci:" + recorded + ":v2", 0, 5, 0, ""},
	} {
		dst := LayoutRef(filepath.Join(t.TempDir(), "new"), "v1")
		r, err := CopySigned(t.Context(), source1(t, c.src), dst, Options{})
		if err != nil {
			t.Fatalf("%s: %v", c.src, err)
		}
		wantSigned(t, dst.String(), c.bundles, c.simple, c.ours)
		if img := inspect(t, dst.String()); img.Digest != r.Digest {
			t.Errorf("%s: its image is %s, want %s", c.src, img.Digest, r.Digest)
		}
		if s, err := Resolve(t.Context(), dst, Options{}); err != nil || c.named != "" && s.Digest != c.named {
			t.Errorf("%s: named is %s, %v, want %s", c.src, s.Digest, err, c.named)
		}
	}
}

func TestOlderSignaturesGoAlongBeforeTheirImage(t *testing.T) {
	host, back := serve(t), t.TempDir()
	for _, step := range [][2]string{{"oci:" + recorded + ":v2", host + "/a:v2"}, {host + "/a:v2", "oci:" + back + ":v2"}} {
		if r := carry(t, step[0], step[1]); len(r.Referrers) != 0 {
			t.Errorf("got referrers %+v, and there are none", r.Referrers)
		}
		wantSigned(t, step[1], 0, 5, 0)
	}
	copyImage(t, host+"/a:v2", host+"/b:v2")
	wantSigned(t, host+"/b:v2", 0, 0, 0)
}
