package clients

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/wiring"
)

// Of one policy and one image, skopeo and we find the same scope, and take the
// same policies for none. Debian's skopeo judges no sigstore signatures, so
// none is wanted here.
func TestSkopeoAndWeFindTheSameScope(t *testing.T) {
	needs(t, "skopeo", "skopeo")
	h := serve(t, nil)
	installation, err := wiring.Open(h.state)
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := layout(t, t.Name())
	image := h.address + "/team/app:v2"
	if err := (craneClient{t}).push(h, nobody, dir, image); err != nil {
		t.Fatal(err)
	}
	verdicts := map[bool]int{}
	for _, policy := range policies(h.address) {
		file := filepath.Join(t.TempDir(), "policy.json")
		write(t, file, policy)
		_, theirs := run(t.Context(), "", "skopeo", "--policy", file, "copy", "--src-tls-verify=false", "docker://"+image, "dir:"+t.TempDir())
		checked, ours := installation.CheckSignatures(t.Context(), wiring.Checking{Image: image, Policy: file}, transport.Options{})
		if (theirs == nil) != (ours == nil) {
			t.Errorf("%s\nskopeo: %v\nwe: %v", policy, theirs, ours)
		}
		var unsigned *wiring.UnsignedError
		if ours != nil && checked != nil && !errors.As(ours, &unsigned) {
			t.Errorf("%s\nwe: %v", policy, ours)
		}
		verdicts[ours == nil]++
	}
	if verdicts[true] < 8 || verdicts[false] < 8 {
		t.Errorf("got verdicts %v: want 8 of each at least", verdicts)
	}
}

// policies say of each scope first that it is accepted, then that it is
// rejected; the rest are none.
func policies(host string) (all []string) {
	const accept, reject = `{"type": "insecureAcceptAnything"}`, `{"type": "reject"}`
	name := host[:len("127.0.0.1")]
	for _, scope := range []string{
		host + "/team/app:v2", host + "/team/app", host + "/team", host + "/tea", host + "/team/app:v1", host, name,
		"*." + name[len("127."):], "*." + name[len("127.0."):], "*.1", "*." + name, "",
	} {
		for first, rest := range map[string]string{accept: reject, reject: accept} {
			all = append(all, fmt.Sprintf(`{"default": [%s], "transports": {"docker": {%q: [%s]}}}`, rest, scope, first))
		}
	}
	return append(all,
		fmt.Sprintf(`{"default": [%s, %s]}`, accept, reject), fmt.Sprintf(`{"default": [%s, %s]}`, accept, accept), fmt.Sprintf(`{"default": [%s]}`, accept),
		`{"default": []}`, `{}`, fmt.Sprintf(`{"default": [%s], "default": [%s]}`, reject, accept), fmt.Sprintf(`{"Default": [%s]}`, accept),
		`{"default": [{"type": "unknown"}]}`, `{"default": [{"type": "insecureAcceptAnything", "keyPath": "/k"}]}`, fmt.Sprintf(`{"default": [%s], "more": {}}`, accept),
	)
}

// Clients that ask for a tag and then for its digest, and those that ask for
// the tag alone, get the image that is signed by that name, and no other.
func TestEveryClientGetsWhatThePolicyAllows(t *testing.T) {
	needs(t, "skopeo", "skopeo")
	r, err := ring()
	if err != nil {
		t.Fatal(err)
	}
	pem, err := r.PublicPEM(keys.Image)
	if err != nil {
		t.Fatal(err)
	}
	key, file := filepath.Join(t.TempDir(), "image.pub"), filepath.Join(t.TempDir(), "policy.json")
	write(t, key, string(pem))
	write(t, file, fmt.Sprintf(`{"default": [{"type": "sigstoreSigned", "keyPath": %q, "signedIdentity": {"type": "matchExact"}}]}`, key))
	h := serve(t, func(c *wiring.ServeConfig) {
		c.Policy = wiring.Enforcement{File: file, Host: "registry.example", Pull: true}
	})
	installation, err := wiring.Open(filepath.Dir(r.Dir())) // whose keys they are
	if err != nil {
		t.Fatal(err)
	}
	dir, digest := layout(t, t.Name())
	if _, err := installation.Sign(t.Context(), wiring.Signing{Image: "oci:" + dir, As: "registry.example/team/app:v1"}, transport.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		if _, err := transport.Copy(t.Context(), ref(t, "oci:"+dir+":v1"), ref(t, h.address+"/team/app:"+tag), transport.Options{Referrers: true}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]client{"skopeo": skopeo{t}, "crane": craneClient{t}, "oras": orasClient{t}, "holdfast": holdfast{t}} {
		if got, err := c.pull(h, nobody, h.address+"/team/app:v1"); err != nil || got != digest {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, digest)
		}
		if _, err := c.pull(h, nobody, h.address+"/team/app:v2"); err == nil || !isDenied(err) {
			t.Errorf("%s, of another name: got %v, want that it is denied", name, err)
		}
	}
}

// isDenied looks for the error's code or its message; clients print either.
func isDenied(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "denied") || strings.Contains(text, "refused by policy")
}
