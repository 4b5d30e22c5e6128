package initdata

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"holdfast/internal/api"
)

const good = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"holdfast.json\" = '''{\"image\":\"x\"}'''\n"

func TestADocumentIsKnownByItsDigest(t *testing.T) {
	d, err := Parse(&api.InitDataMessage{Format: "toml", Body: good})
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256([]byte(good)); d.Digest != "sha256:"+hex.EncodeToString(sum[:]) || d.Config().Image != "x" {
		t.Errorf("got %+v with image %q", d, d.Config().Image)
	}
	if d, err := Parse(nil); d != nil || err != nil {
		t.Errorf("no message: got %v, %v", d, err)
	}
	if _, err := Parse(&api.InitDataMessage{Format: "json", Body: good}); err == nil {
		t.Error("format json: accepted")
	}
}

// What is accepted is named by the digest of every byte of it.
//
//fuzz:parser initdata.go
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("version = \"0.1.0\"\nalgorithm = \"sha-256\"\ndata.\"holdfast.json\" = '''{\"secrets\":[{\"resource\":\"kbs:///a/b/c;reboot\"}]}'''\n")
	f.Fuzz(func(t *testing.T, body string) {
		d, err := Parse(&api.InitDataMessage{Format: "toml", Body: body})
		if err != nil {
			return
		}
		if sum := sha256.Sum256([]byte(body)); !bytes.Equal(d.Sum, sum[:]) || d.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("digest %s is not the document's", d.Digest)
		}
		_ = d.Config()
	})
}
