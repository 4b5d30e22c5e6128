package initdata

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
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
//fuzz:parser initdata.go ../../policy/claims/claims.go
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("version = \"0.1.0\"\nalgorithm = \"sha512\"\n[data]\n\"policy.rego\" = 'policy_data := {}'\n\"aa.toml\" = 'a = 1'\n")
	f.Add("version = \"0.1.0\"\nalgorithm = \"sha-256\"\ndata.\"holdfast.json\" = '''{\"secrets\":[{\"resource\":\"kbs:///a/b/c;reboot\"}]}'''\n")
	f.Fuzz(func(t *testing.T, body string) {
		d, err := Parse(&api.InitDataMessage{Format: "toml", Body: body})
		if err != nil {
			return
		}
		if sum := sha256.Sum256([]byte(body)); d.Algorithm == "sha256" && !bytes.Equal(d.Sum, sum[:]) || d.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("digest %s is not the document's", d.Digest)
		}
		if len(d.Sum) < sha256.Size || len(d.Claims()) == 0 && len(d.Data) > 0 {
			t.Errorf("got %+v", d)
		}
		_ = d.Config()
	})
}

// The wanted digests are by sha384sum and sha512sum.
func TestADocumentIsMeasuredByItsOwnAlgorithm(t *testing.T) {
	for algorithm, want := range map[string]string{
		"sha384":  "cc367223fdb0ecfb2353e2f1f944c1c24a4bcdc08acdfeed73552c2f345925416f920531a08363aa0511d964c76fe5d6",
		"SHA-384": "fcf2470ad9408e7862f5d17b7e3759a9b2fbe11cdeea7576e4083029ee307bbcab34a7bb4c5d7c3e267e4dc13c64f271",
		"sha512":  "cddcef9d3c7926d26146c7bed9a8ee87405f0161dca94b2641bd70bd0a18067f5a2f02f2bbd1bc194b4303f97d844a61a5a807e705a589b05704e9391c710b13",
	} {
		d, err := Parse(&api.InitDataMessage{Format: "toml", Body: "version = \"0.1.0\"\nalgorithm = \"" + algorithm + "\"\n"})
		if err != nil || hex.EncodeToString(d.Sum) != want || len(d.Digest) != len("sha256:")+64 {
			t.Errorf("%s: got %+v, %v", algorithm, d, err)
		}
	}
	if _, err := Parse(&api.InitDataMessage{Format: "toml", Body: "version = \"0.1.0\"\nalgorithm = \"md5\"\n"}); err == nil {
		t.Error("md5 is taken")
	}
}

// TestClaimsAreThoseOfTrustee takes a document of its integration tests.
func TestClaimsAreThoseOfTrustee(t *testing.T) {
	body, err := os.ReadFile("testdata/trustee/init-data-with-policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(&api.InitDataMessage{Format: "toml", Body: string(body)})
	if err != nil {
		t.Fatal(err)
	}
	claims := d.Claims()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Agent struct {
			Containers []struct {
				OCI struct{ Process struct{ Args []string } }
			} `json:"containers"`
		} `json:"agent_policy_claims"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Agent.Containers) < 2 || got.Agent.Containers[1].OCI.Process.Args[0] != "/opt/bitnami/scripts/nginx/entrypoint.sh" {
		t.Errorf("got %.400s", raw)
	}
	if _, has := claims["policy.rego"]; has {
		t.Errorf("got the claims %v", slices.Sorted(maps.Keys(claims)))
	}
}
