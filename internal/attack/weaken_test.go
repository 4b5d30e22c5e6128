package attack

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A weakening takes one check out of the program. The attack that the check is
// there for must notice: else it would be held by chance.
type weakening struct {
	name, file string
	cut, with  string // Go or Rego, and what stands there instead
	notices    string // the attack
}

var weakenings = []weakening{
	{"no MAC", "enc/decrypt.go", "!hmac.Equal(d.mac.Sum(nil), d.want)", "false && !hmac.Equal(d.mac.Sum(nil), d.want)", "mac-wrong"},
	{"leftovers", "guest/layer.go", "errors.Join(err, os.RemoveAll(staging))", "err", "mac-wrong"},
	{"no digest", "guest/verify.go", "case got != v.want:", "case false:", "layer-flipped"},
	{"redirects", "guest/registry.go", "own.CheckRedirect = refuseRedirect", "_ = refuseRedirect", "registry-redirects"},
	{"no root for names", "guest/tree.go", "unix.RESOLVE_IN_ROOT | ", "", "climbing-link"},
	{"no bound", "guest/unpack.go", "if u.room <= 0 {", "if true {", "decompression-bomb"},
	{"no activation", "attest/tpm/verify/session.go", "answered := hmac.Equal(", "answered := stale == nil || hmac.Equal(", "mixed-keys"},
	{"no init-data", "attest/tpm/verify/session.go", "; !same {", "; false && !same {", "configuration-swapped"},
	{"no PCR digest", "attest/tpm/verify/quote.go", "if !bytes.Equal(sum.Sum(nil), digest) {", "if false {", "altered-pcr"},
	{"no PCR selection", "attest/tpm/verify/quote.go", "|| !bytes.Equal(s.PCRSelect,", "|| false && !bytes.Equal(s.PCRSelect,", "pcr-selection"},
	{"no key attributes", "attest/tpm/verify/key.go", "if need.got != need.want {", "if false {", "unrestricted-key"},
	{"no token signature", "broker/token.go", "t.signed.Verify(key); err == nil {", "t.signed.Verify(key); err == nil || true {", "token-altered"},
	{"no token expiry", "broker/token.go", "case !now.Before(at(c.Expires)):", "case false:", "token-expired"},
	{"nonce for ever", "broker/handshake.go", "if !fresh {", "if false && !fresh {", "answered-twice"},
	{"PCR 12 free", "policy/attestation/tpm.rego", "untouched(12) if input.claims.pcr12 == zero", "untouched(12) if input.claims.pcr12", "planted-credential"},
	{"no signature of images", "cosign/cosign.go", "if k.Verify(s.message, s.sig) {", "if k.Verify(s.message, s.sig) || true {", "signature-foreign"},
	{"no image of signatures", "cosign/cosign.go", "if d == image {", "if d != \"\" {", "signature-moved"},
	{"any image", "policy/attestation/tpm.rego", "trusted contains \"tpm\" if {\n\tdata.images[input.claims.pcr11].status == \"trusted\"\n", "images contains id if some id, _ in data.reference\n\ntrusted contains \"tpm\" if {\n", "image-not-trusted"},
	{"any Secure Boot keys", "policy/attestation/tpm.rego", "\tinput.claims.pcr07 == boot.pcrs[\"7\"]\n", "", "secure-boot-keys"},
	{"any configuration", "policy/attestation/common.rego", "\trebuilt\n\tdata.configurations[input.init_data.digest]\n", "\trebuilt\n", "configuration-unauthorised"},
	{"any maker", "attest/tpm/verify/endorsement.go", "return nil, time.Time{}, notChained(cert, opts, err)", "return []*x509.Certificate{cert}, cert.NotAfter, nil", "foreign-maker"},
	{"any handshake", "attest/tpm/verify/session.go", "case isFor(q, bound):", "case isFor(q, bound) || true:", "replayed-quote"},
	{"any event log", "attest/tpm/verify/session.go", "if len(e.EventLog) > 0 {", "if false && len(e.EventLog) > 0 {", "event-log"},
	{"the token's own key", "broker/token.go", "t.signed.Verify(key)", "t.signed.Verify(t.header.JSONWebKey.Key)", "token-of-another-broker"},
	{"any manifest", "guest/registry.go", "got := oci.SHA256(b); got != d", "got := oci.SHA256(b); false && got != d", "other-manifest"},
	{"seen at once", "guest/layer.go", "staged(b.path(\"staging\"), b.path(\"rootfs\")", "staged(\"/\"+b.path(\"rootfs\"), b.path(\"rootfs\")", "seen-before-mac"}, // os.Rename gives no folder the very name that it has
	{"any server", "wiring/machine/pinned.go", "RootCAs:", "InsecureSkipVerify: true, RootCAs:", "registry-impersonated"},
	{"hard links out", "guest/tree.go", "unix.RESOLVE_IN_ROOT | ", "", "climbing-hard-link"},
	{"no signature of statements", "sign/sign.go", "!ok || !ed25519.Verify(", "!ok || false && !ed25519.Verify(", "references-altered"},
	{"any signature algorithm", "broker/token.go", "ParseSignedCompact(token, signatureAlgorithms)", "ParseSignedCompact(token, append(signatureAlgorithms, jose.HS256))", "token-key-confusion"},
	{"administrators' tokens again", "broker/admin.go", "return b.once(r, c.ID, c.Expiry.Time().Add(adminLeeway))", "return nil", "administrator-again"},
}

func TestWithoutItsCheckAnAttackIsNotHeld(t *testing.T) {
	needTPM(t)
	for i, w := range weakenings {
		t.Run(w.name, func(t *testing.T) {
			overlay := w.overlay(t)
			if i > 0 && os.Getenv("HOLDFAST_SOAK") == "" {
				t.Skip("builds the program anew: HOLDFAST_SOAK=1 go test ./internal/attack, or make soak; CI does the first one")
			}
			out, err := exec.Command(build(t, overlay), "attack", "--state", t.TempDir(), "--json", "--quiet", w.notices).Output()
			var r Report
			if json.Unmarshal(out, &r) != nil || len(r.Results) != 1 {
				t.Fatalf("got %s, %v, want a report", out, err)
			}
			t.Logf("%s: %s", w.notices, Short(r.Results[0].Says()))
			if v := r.Results[0].Verdict; v != Broken && v != Wrong { // a lab that fails notices nothing
				t.Errorf("%s did not notice: %s", w.notices, r.Results[0].Says())
			}
		})
	}
}

// overlay tells go build to take the weakened file for the real one.
func (w weakening) overlay(t *testing.T) string {
	t.Helper()
	real, err := filepath.Abs(filepath.Join("..", filepath.FromSlash(w.file)))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(real)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), w.cut) != 1 {
		t.Fatalf("%s does not have %q once: the weakening has to follow the code", w.file, w.cut)
	}
	weak := filepath.Join(t.TempDir(), filepath.Base(real))
	if err := os.WriteFile(weak, []byte(strings.Replace(string(source), w.cut, w.with, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {real: weak}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(t *testing.T, overlay string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "holdfast")
	out, err := exec.Command("go", "build", "-overlay", overlay, "-o", program, "holdfast/cmd/holdfast").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}
