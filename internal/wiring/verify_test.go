package wiring

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/ca"
	"holdfast/internal/enc"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/policy"
	"holdfast/internal/proof"
)

// proofFile has the proof of the one release whose path ends so.
func (d *desk) proofFile(resource string) string {
	d.t.Helper()
	list, err := d.admin.Proofs(d.t.Context())
	check(d.t, err)
	var all []byte
	for _, e := range list {
		if e.Resource == resource {
			raw, err := d.admin.Proof(d.t.Context(), e.ID)
			check(d.t, err)
			all = append(all, raw...)
		}
	}
	path := filepath.Join(d.t.TempDir(), "proof.json")
	check(d.t, atomicfile.WriteFile(path, all, 0o600))
	return path
}

// verifies wants that a proof's every check is good, and that it is of path.
func (d *desk) verifies(file, path string) *Verified {
	d.t.Helper()
	v, err := d.Verify(d.t.Context(), Verification{Subject: file, At: time.Now()})
	check(d.t, err)
	if len(v.Proofs) != 1 || !v.Verified || v.Proofs[0].Release.Resource != path {
		for _, p := range v.Proofs {
			d.t.Errorf("%s: got a proof of %s, bad: %+v", path, p.Release.Resource, p.Failures())
		}
		d.t.Fatalf("%s: %d proofs, verified %v", path, len(v.Proofs), v.Verified)
	}
	return v
}

func (d *desk) certified(resource string) {
	d.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(d.t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(d.t, err)
	_, err = d.client.Certify(d.t.Context(), "kbs:///"+resource, request)
	check(d.t, err)
}

func TestTheProofOfACertificateVerifies(t *testing.T) {
	d := newDesk(t, nil, "default/workload/web")
	_, err := d.RotateCA(t.Context(), ca.Rotation{Domain: "machines.example.org"})
	check(t, err)
	d.certified("default/workload/web")
	file := d.proofFile("spiffe/svid/default/workload/web")
	d.verifies(file, "svid/default/workload/web")

	// A broker that says it was another plugin, or another's path, is found out.
	raw, err := os.ReadFile(file)
	check(t, err)
	for _, lie := range []func(*api.ProofRelease){
		func(r *api.ProofRelease) { r.Plugin = "pkcs11" },
		func(r *api.ProofRelease) { r.Plugin = "" },
		func(r *api.ProofRelease) { r.Resource = "svid/default/workload/bank" },
	} {
		p, err := proof.Peek(raw)
		check(t, err)
		lie(&p.Release)
		forged, err := proof.Seal(*p, d.ring.Releases())
		check(t, err)
		check(t, os.WriteFile(file, forged, 0o600))
		v, err := d.Verify(t.Context(), Verification{Subject: file, At: time.Now()})
		check(t, err)
		if bad := v.Proofs[0].Failures(); v.Verified || len(bad) != 1 || bad[0].Name != "resource policy" {
			t.Errorf("%s of %q: got verified %v, %+v", p.Release.Resource, p.Release.Plugin, v.Verified, bad)
		}
	}
}

// opened has a machine open the packet of a layer in the HSM.
func opened(t *testing.T) *desk {
	d := newDesk(t, useHSM, "default/key/redis")
	check(t, d.admin.MakeKept(t.Context(), "default/key/redis"))
	r, _, err := recipient(t.Context(), d.admin, "hsm:///default/key/redis")
	check(t, err)
	e, err := enc.Encrypt(strings.NewReader("the layer"), enc.Config{Recipients: []enc.Recipient{r}})
	check(t, err)
	_, err = new(bytes.Buffer).ReadFrom(e)
	check(t, err)
	annotations, err := e.Annotations()
	check(t, err)
	_, err = enc.Unwrap(t.Context(), annotations, enc.BrokerKey(d.client.Resource))
	check(t, err)
	return d
}

func TestTheProofOfAPacketOpenedInTheHSMVerifies(t *testing.T) {
	d := opened(t)
	d.verifies(d.proofFile("pkcs11/unwrap-key/default/key/redis"), "unwrap-key/default/key/redis")
}

func TestWhyTellsOfAKeyThatNobodyGetsAndOfThePolicyInForce(t *testing.T) {
	d := opened(t)
	l, err := d.Why(t.Context(), "default/key/redis")
	check(t, err)
	got := map[string]*Link{}
	for _, below := range l.Links {
		got[below.Kind] = below
	}
	if l.Text != "never leaves the broker's HSM" || l.Problems() > 0 || got["configuration"] == nil {
		t.Errorf("got %q with %d problems, %+v", l.Text, l.Problems(), got)
	}
	if r := got["release"]; r == nil || r.Name != "pkcs11/unwrap-key/default/key/redis" || r.Links[0].Text != "verified" {
		t.Errorf("got release %+v, want the packet that was opened, verified", r)
	}
	if p := got["policy"]; p.Text != "as shipped with this program" {
		t.Errorf("as shipped: got %q", p.Text)
	}
	check(t, d.admin.SetResourcePolicy(t.Context(), []byte(policy.Resource+"\n# our own\n")))
	l, err = d.Why(t.Context(), "kbs:///default/key/redis")
	check(t, err)
	if p := l.Links[0]; !strings.HasPrefix(p.Text, "version 1, set ") || !strings.HasSuffix(p.Text, " by test") || p.Digest != string(oci.SHA256([]byte(policy.Resource+"\n# our own\n"))) {
		t.Errorf("got %q %s, want the version that was set", p.Text, p.Digest)
	}
}

// A release happened, whatever became of its image: its proof stays good, and
// whoever asks at the broker's own installation is told what it knows since.
func TestTheProofOfAReleaseOutlivesItsImage(t *testing.T) {
	d := newDesk(t, nil, "default/key/x")
	check(t, d.admin.CreateResource(t.Context(), "default/key/x", []byte("the key")))
	_, err := d.client.Resource(t.Context(), "kbs:///default/key/x")
	check(t, err)
	file := d.proofFile("default/key/x")
	if v := d.verifies(file, "default/key/x"); len(v.Revoked) > 0 {
		t.Errorf("before: got %+v", v.Revoked)
	}
	images, err := d.admin.Images(t.Context())
	check(t, err)
	id := images[0].ID // it names no UKI
	check(t, d.admin.SetStanding(t.Context(), api.ImageStanding{UKI: id, Revoked: &api.ImageRevocation{Reason: "its key leaked"}}))
	if _, err := d.client.Resource(t.Context(), "kbs:///default/key/x"); err == nil {
		t.Error("the revoked image is given its key")
	}
	for _, state := range []string{"trusted", "forgotten"} {
		v := d.verifies(file, "default/key/x")
		if len(v.Revoked) != 1 || v.Revoked[0].Image != "guest" || v.Revoked[0].UKI != id || v.Revoked[0].Reason != "its key leaked" || time.Since(v.Revoked[0].At) > time.Minute {
			t.Errorf("with reference values %s: got %+v", state, v.Revoked)
		}
		if state == "trusted" {
			check(t, d.admin.Distrust(t.Context(), id))
		}
	}
	// Under a root that the reader names, this broker's opinion does not count.
	v, err := d.Verify(t.Context(), Verification{Subject: file, At: time.Now(), Root: filepath.Join(d.Keys(), keys.Root+".crt")})
	check(t, err)
	if !v.Verified || len(v.Revoked) > 0 {
		t.Errorf("by a named root: got verified %v, %+v", v.Verified, v.Revoked)
	}
	check(t, d.admin.SetStanding(t.Context(), api.ImageStanding{UKI: id}))
	if v := d.verifies(file, "default/key/x"); len(v.Revoked) > 0 {
		t.Errorf("lifted: got %+v", v.Revoked)
	}
}

func TestPoliciesOfDevicesAreNamedByClass(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.rego")
	if err := os.WriteFile(file, []byte("package policy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i, v := Installation{t.TempDir()}, Verification{Root: "another's", DevicePolicies: map[string][]string{"switch": {file}}}
	all, err := i.devicePolicies(v)
	if err != nil || !slices.Equal(all["switch"], []string{"package policy\n"}) || len(all["gpu"])+len(all["ppcie"]) > 0 {
		t.Errorf("got %q, %v, want it to be good for switches alone", all, err)
	}
	for _, class := range []string{"cpu", "gpus", ""} {
		v.DevicePolicies = map[string][]string{class: {file}}
		if _, err := i.devicePolicies(v); err == nil || !strings.Contains(err.Error(), "want one of gpu, switch, ppcie") {
			t.Errorf("class %q: got %v", class, err)
		}
	}
}
