package wiring

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mirrored serves a registry that gets what is under far.example from another,
// and holds it to the policy. Down ends the other.
func mirrored(t *testing.T, policy string) (far, host string, down func()) {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	there, _ := serve(t, ServeConfig{})
	list := fmt.Sprintf("upstreams:\n  - prefix: far.example\n    url: %s\n    recheck: 1\n", there.RegistryURL())
	here, _ := serve(t, ServeConfig{
		Policy:    Enforcement{File: write("policy.json", policy), Host: "registry.example", Pull: true},
		Upstreams: &UpstreamConfig{File: write("upstreams.yaml", list)},
	})
	down = func() { _ = there.Close() }
	return strings.TrimPrefix(there.RegistryURL(), "http://"), strings.TrimPrefix(here.RegistryURL(), "http://"), down
}

func TestSignaturesComeFromWhereTheImageComesFrom(t *testing.T) {
	far, host, down := mirrored(t, wantsSignature(keyFile(t, "p256"), "matchDigest"))
	for _, tag := range []string{"v1", "v2"} { // in the current form, and in the older one
		if err := move(t, "oci:"+signedByCosign+":"+tag, far+"/hello:"+tag); err != nil {
			t.Fatal(err)
		}
		if err := bare(t, host+"/far.example/hello:"+tag, "oci:"+t.TempDir()); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
	if err := bare(t, "oci:"+signedByCosign+":v1", far+"/unsigned:v1"); err != nil {
		t.Fatal(err)
	}
	denied(t, bare(t, host+"/far.example/unsigned:v1", "oci:"+t.TempDir()), "no signature is beside it")
	down()
	for _, tag := range []string{"v1", "v2"} {
		if err := bare(t, host+"/far.example/hello:"+tag, "oci:"+t.TempDir()); err != nil {
			t.Errorf("%s while the upstream is down: %v", tag, err)
		}
	}
}
