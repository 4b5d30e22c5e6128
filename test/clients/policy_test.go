package clients

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"holdfast/internal/image/transport"
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
