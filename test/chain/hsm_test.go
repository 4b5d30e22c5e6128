package chain

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/hsm"
	"holdfast/internal/hsm/hsmtest"
	"holdfast/internal/image/transport"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

const ledger = "default/key/ledger"

// withHSM is the bench with a broker of its own, whose keys are in a SoftHSM
// from the first one on: the master key, and the key of the image.
func (b *bench) withHSM(t *testing.T) (*bench, *admin.Client, *hsm.Client) {
	t.Helper()
	c := hsmtest.Config(t)
	i, err := wiring.Open(t.TempDir())
	check(t, err)
	shared := b.builder.Installation.Dir()
	for _, name := range []string{"keys", "tpm-ca", "firmware"} {
		check(t, os.CopyFS(filepath.Join(i.Dir(), name), os.DirFS(filepath.Join(shared, name))))
	}
	check(t, os.RemoveAll(i.Masters()))
	ring, err := i.Ring(t.Context())
	check(t, err)
	_, err = i.UseHSM(t.Context(), wiring.HSM{Program: behind(t, c), Module: c.Module, Token: c.Token, PINFile: c.PINFile})
	check(t, err)
	broker, err := i.Admin(ring)
	check(t, err)
	check(t, broker.MakeKept(t.Context(), ledger))
	_, err = i.RotateMaster(t.Context(), hsm.MasterKind, nil)
	check(t, err)
	device, err := hsm.New(c)
	check(t, err)
	t.Cleanup(func() { _ = device.Close() })
	own := *b
	own.ring, own.builder.Installation = ring, i
	return &own, broker, device
}

// behind is the helper, with the environment that leads to the test's tokens.
func behind(t *testing.T, c hsm.Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	script := fmt.Sprintf("#!/bin/sh\nexec env %q %q \"$@\"\n", c.Env[len(c.Env)-1], c.Program)
	check(t, os.WriteFile(path, []byte(script), 0o700))
	return path
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The image's layers are encrypted under a key that was made in the HSM. The
// machine sends each layer's packet, and the HSM opens it: the key itself is
// given to nobody, and the broker has none of its bytes.
func TestAnImageRunsWhoseKeyNeverLeavesTheHSM(t *testing.T) {
	shared := needs(t)
	t.Parallel()
	b, broker, device := shared.withHSM(t)
	encrypted := filepath.Join(t.TempDir(), "encrypted")
	_, err := wiring.Encrypt(t.Context(), broker, wiring.Encryption{
		Source: transport.LayoutRef(b.redis, ""), Target: transport.LayoutRef(encrypted, "t"), Recipients: []string{"hsm:///" + ledger},
	})
	check(t, err)
	var out bytes.Buffer
	r := b.run(t, &out)
	r.Image, r.Proof = "oci:"+encrypted+":t", filepath.Join(t.TempDir(), "proof.json")
	result := start(t, b, r)
	if o := result.Outcome; o.Reason != machine.PoweredOff || o.Exit == nil || o.Exit.Code != 0 || !strings.Contains(out.String(), "Redis server v=") {
		t.Fatalf("got %s and %q, want Redis's version\n%s", o, out.String(), strings.Join(o.Console, "\n"))
	}
	b.opened(t, r.Proof)
	b.neverGiven(t, broker)
	if err := device.Kept(t.Context(), ledger); err != nil {
		t.Errorf("the HSM says of the key: %v", err)
	}
}

// opened wants proofs that verify, each of a packet that the HSM opened.
func (b *bench) opened(t *testing.T, file string) {
	t.Helper()
	v, err := b.builder.Installation.Verify(t.Context(), wiring.Verification{Subject: file, At: time.Now()})
	check(t, err)
	if !v.Verified || len(v.Proofs) == 0 {
		t.Errorf("got verified %v, %d proofs; want some that do", v.Verified, len(v.Proofs))
	}
	for _, p := range v.Proofs {
		if p.Release.Resource != "unwrap-key/"+ledger {
			t.Errorf("%s was released, want packets that %s opened only", p.Release.Resource, ledger)
		}
	}
}

// neverGiven wants that the audit log tells of opened packets, of no key that was
// given, and that the broker has no such resource.
func (b *bench) neverGiven(t *testing.T, broker *admin.Client) {
	t.Helper()
	list, err := broker.Decisions(t.Context())
	check(t, err)
	opened := 0
	for _, e := range list {
		switch {
		case e.Action == "get-resource" && e.Decision == api.AuditAllow:
			t.Errorf("the broker gave %s", e.Resource)
		case e.Resource == "pkcs11/unwrap-key/"+ledger && e.Decision == api.AuditAllow:
			opened++
		}
	}
	if names, err := broker.Resources(t.Context()); err != nil || len(names) > 0 || opened == 0 {
		t.Errorf("got %d packets opened, resources %q, %v; want some and none", opened, names, err)
	}
}
