// Package chain boots real machines and shows that the chain holds, and that
// each break of it is refused for the right reason.
//
// It needs QEMU, OVMF and swtpm; make test installs them.
package chain

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/image"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
	"holdfast/test/testbed"
)

const root = testbed.Root

// A bench is what the tests share: one installation with a machine image and
// a workload, both built once.
type bench struct {
	builder wiring.Builder
	ring    *keys.Ring
	guest   *image.Machine
	redis   string // an OCI layout
}

var shared = sync.OnceValues(newBench)

func newBench() (*bench, error) {
	ctx := context.Background()
	bed, err := testbed.Open(ctx, "guest")
	if err != nil {
		return nil, err
	}
	b := &bench{builder: bed.Builder, ring: bed.Ring, guest: bed.Machine}
	b.redis, err = bed.OCI(ctx, filepath.Join(root, "images", "redis"))
	return b, err
}

func needs(t testing.TB) *bench {
	t.Helper()
	testbed.Boots(t)
	b, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run is a run whose workload prints Redis's version and ends.
func (b *bench) run(t testing.TB, out io.Writer) wiring.Run {
	name := strings.ToLower(t.Name())
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, name)
	return wiring.Run{
		Builder: b.builder, Image: "oci:" + b.redis, Name: name[max(0, len(name)-32):], Guest: b.guest.Dir,
		Args: []string{"--version"}, Entrypoint: []string{"redis-server"}, Stdout: out, Stderr: out,
	}
}

func start(t testing.TB, b *bench, r wiring.Run) *wiring.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Minute)
	defer cancel()
	result, err := b.builder.Installation.Run(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// refused wants the machine's own refusal at stage, for a reason with want.
func refused(t *testing.T, r *wiring.Result, stage, want string) {
	t.Helper()
	o := r.Outcome
	if o.Reason != machine.Refused {
		t.Fatalf("got %s, want a refusal at stage %s\n%s", o, stage, strings.Join(o.Console, "\n"))
	}
	if o.Refusal.Stage != stage || !strings.Contains(o.Refusal.Reason, want) {
		t.Fatalf("got %s, want stage %s and %q", o, stage, want)
	}
}

func TestTheChainHoldsAndAnAlteredLayerNeverRuns(t *testing.T) {
	b := needs(t)
	t.Parallel()
	d, err := b.builder.Installation.Demonstrate(t.Context(), wiring.Demo{
		Builder: b.builder, Guest: filepath.Join(root, "images", "guest"), Redis: filepath.Join(root, "images", "redis"),
		Say: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Good.Measured) != 6 {
		t.Fatalf("got %d measured PCRs, want 6", len(d.Good.Measured))
	}
	for _, m := range d.Good.Measured {
		if !m.Good() || m.Value == "" {
			t.Errorf("PCR %d (%s): got %s, predicted %s", m.PCR, m.Meaning, m.Value, m.Expected)
		}
	}
	if got := strings.Join(d.Talk, "\n"); !strings.Contains(got, "GET chain → holds") {
		t.Errorf("got %s, want Redis's answer", got)
	}
	if !strings.Contains(d.Refusal, "altered") {
		t.Errorf("got refusal %q, want one that says altered", d.Refusal)
	}
	for _, d := range d.Bad.Stages {
		if d.Name == "run" {
			t.Error("the altered image reached the stage run")
		}
	}
}

func TestOutputExitCodeAndSecretAreTheWorkloads(t *testing.T) {
	b := needs(t)
	t.Parallel()
	var out bytes.Buffer
	r := b.run(t, &out)
	r.Secrets = []wiring.Secret{{Name: "extra.conf", Value: []byte("this-directive-does-not-exist 1\n")}}
	r.Args = []string{"/run/secrets/extra.conf"}
	r.Proof = filepath.Join(t.TempDir(), "proof.json")
	result := start(t, b, r)
	if o := result.Outcome; o.Reason != machine.PoweredOff || o.Exit == nil || o.Exit.Code != 1 {
		t.Fatalf("got %s, want exit code 1\n%s", o, strings.Join(o.Console, "\n"))
	}
	if !strings.Contains(out.String(), "this-directive-does-not-exist") {
		t.Fatalf("got output %q, want Redis's complaint about the line in the secret", out.String())
	}
	b.proven(t, r)
	if _, err := os.Stat(b.builder.Installation.Machine(r.Name)); !os.IsNotExist(err) {
		t.Errorf("the run's folder is still there: %v", err)
	}
}

// proven wants a proof of the one thing that was released to r, found by the
// file and by the run's name, that verifies.
func (b *bench) proven(t *testing.T, r wiring.Run) {
	t.Helper()
	for _, subject := range []string{r.Proof, r.Name} {
		v, err := b.builder.Installation.Verify(t.Context(), wiring.Verification{Subject: subject, At: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if !v.Verified || len(v.Proofs) != 1 {
			t.Fatalf("%s: got verified %v, %d proofs; want one that does", subject, v.Verified, len(v.Proofs))
		}
	}
}

func TestAConfigurationNobodyAuthorisedGetsNothing(t *testing.T) {
	b := needs(t)
	t.Parallel()
	services, err := b.builder.Installation.Serve(b.ring, wiring.ServeConfig{
		RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", TLS: true, RegistryDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer services.Close()
	encrypted := b.encrypted(t, b.redis)
	r := b.run(t, io.Discard)
	r.Image = "oci:" + encrypted
	r.Broker = &api.Endpoint{
		URL: strings.Replace(services.BrokerURL(), "127.0.0.1", "10.0.2.2", 1),
		CA:  string(b.ring.CertificatePEM(keys.TLS)),
	}
	result := start(t, b, r)
	refused(t, result, "attest", "is not authorised")
	if want := "holdfast broker allow " + result.Report.Configuration; !strings.Contains(result.Outcome.Refusal.Reason, want) {
		t.Errorf("got %q, want the command %q", result.Outcome.Refusal.Reason, want)
	}
	broker, err := b.builder.Installation.Admin(b.ring)
	if err != nil {
		t.Fatal(err)
	}
	log, err := broker.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	audit, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	if want := "configuration " + result.Report.Configuration + " is not authorised"; !bytes.Contains(audit, []byte(want)) {
		t.Errorf("the audit log does not say %q", want)
	}
}

// encrypted is the workload encrypted under a key of its own.
func (b *bench) encrypted(t *testing.T, layout string) string {
	t.Helper()
	broker, err := b.builder.Installation.Admin(b.ring)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "encrypted")
	e, err := wiring.Encrypt(t.Context(), broker, wiring.Encryption{
		Source: transport.LayoutRef(layout, ""), Target: transport.LayoutRef(dir, "t"), Recipients: []string{"kbs"}, Options: transport.Options{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.DeleteResource(context.Background(), strings.TrimPrefix(e.Keys[0], "kbs:///")) })
	return dir + ":t"
}
