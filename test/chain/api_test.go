package chain

import (
	"bytes"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// A workload as one is written for Confidential Containers finds its sealed
// variable unsealed and asks its machine for a resource, a token and evidence;
// what its machine may not have is refused with the broker's reason.
func TestAWorkloadForConfidentialContainersRunsUnchanged(t *testing.T) {
	b := needs(t)
	i := b.builder.Installation
	broker, err := i.Admin(b.ring)
	if err != nil {
		t.Fatal(err)
	}
	for path, value := range map[string]string{"test/api/own": "own value", "test/api/other": "another's", "test/api/password": "hunter2"} {
		if err := broker.SetResource(t.Context(), path, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	sealed, err := i.Seal(t.Context(), broker, wiring.Sealing{Resource: "kbs:///test/api/password"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := b.run(t, &out)
	r.Image, r.Entrypoint = "oci:"+b.composed(t, "asker", mib, 0), nil
	r.Env = []string{"PASSWORD=" + sealed.Text}
	r.API, r.Resources = []string{api.APIAttestation, api.APIResource}, []string{"kbs:///test/api/own"}
	r.Args = []string{
		"/cdh/resource/test/api/own", "/cdh/resource/test/api/other", "/aa/token?token_type=kbs", "/aa/evidence?runtime_data=x", "/info",
	}
	if o := start(t, b, r).Outcome; o.Reason != machine.PoweredOff || o.Exit == nil || *o.Exit != (api.ExitDetail{}) {
		t.Fatalf("got %s\n%s\n%v", o, out.String(), o.Console)
	}
	for _, want := range []string{
		"PASSWORD hunter2\n",
		"/cdh/resource/test/api/own 200 own value <nil>\n",
		"/cdh/resource/test/api/other 500 resource kbs:///test/api/other: the broker refused (403): Access denied by policy: ",
		`/aa/token?token_type=kbs 200 {"token":"ey`, `"tee_keypair":"-----BEGIN PRIVATE KEY-----`,
		`/aa/evidence?runtime_data=x 200 {"ak_public":"`,
		`"tee":"tpm","feature":"all"}`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in what the workload printed:\n%s", want, out.String())
		}
	}
}
