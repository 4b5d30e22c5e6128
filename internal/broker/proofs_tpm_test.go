package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/swtpm"
)

// A chip is a software TPM that measured what a boot of an image would.
type chip struct {
	*swtpm.TPM
	dir string
}

func newChip(t *testing.T) chip {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools, then go test ./internal/broker", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"ours", "foreign"} {
		check(t, swtpm.Manufacture(t.Context(), swtpm.Config{Dir: filepath.Join(dir, name), CADir: filepath.Join(dir, name+"-ca")}))
	}
	c, err := swtpm.Open(t.Context(), filepath.Join(dir, "ours"))
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return chip{c, dir}
}

// roots are those of the chip's authority, or of a foreign one.
func (c chip) roots(t *testing.T, name string) []byte {
	t.Helper()
	roots, err := swtpm.CA(filepath.Join(c.dir, name+"-ca"))
	check(t, err)
	return roots
}

// measure extends a PCR by the digest of what, and returns its value after.
func (c chip) measure(t *testing.T, n int, what string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(what))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(n), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(c)
	check(t, err)
	value := sha256.Sum256(append(make([]byte, sha256.Size), sum[:]...))
	return hex.EncodeToString(value[:])
}

// provenBy has the chip's machine fetch its key, and returns the proof.
func (c chip) provenBy(t *testing.T, b *bench, ring *keys.Ring) []byte {
	t.Helper()
	values := api.ReferenceValues{Image: "guest", PCRs: map[string]string{"11": c.measure(t, 11, "uki"), "12": zeroPCR, "13": zeroPCR},
		Firmware: []api.FirmwareReference{{SecureBoot: true, PCRs: map[string]string{"4": c.measure(t, 4, "loader"), "7": c.measure(t, 7, "keys")}}}}
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, values)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	attester := tpm.New(tpm.Config{TPM: c})
	_, err := attester.MeasureInitData(t.Context(), []byte(initDataBody))
	check(t, err)
	defer attester.Close()
	client, err := kbc.New(kbc.Config{URL: b.url, HTTP: &http.Client{}, Attester: attester, InitData: []byte(initDataBody)})
	check(t, err)
	defer client.Close()
	value, err := client.Resource(t.Context(), "kbs:///default/key/x")
	if err != nil || string(value) != "the key" {
		t.Fatalf("got %q, %v", value, err)
	}
	list := b.proofs()
	if len(list) != 1 || list[0].Resource != "default/key/x" || list[0].Configuration != initDataDigest {
		t.Fatalf("got %+v, want one proof", list)
	}
	raw, err := b.admin.Proof(t.Context(), list[0].ID)
	check(t, err)
	return raw
}

func TestTheProofOfARealTPMVerifies(t *testing.T) {
	ring, prove := proving(t)
	c := newChip(t)
	verifier, err := verify.New(verify.Config{Roots: c.roots(t, "ours")})
	check(t, err)
	b := newBench(t, func(cfg *Config) {
		prove(cfg)
		cfg.Verifiers = []attest.Verifier{verifier}
	})
	raw := c.provenBy(t, b, ring)
	for name, want := range map[string]string{"ours": "", "foreign": "endorsement certificate"} {
		report, err := proof.Verify(t.Context(), raw, proof.Reader{Roots: ring.RootPool(), EKRoots: c.roots(t, name), At: time.Now()})
		check(t, err)
		first := ""
		if f := report.Failures(); len(f) > 0 {
			first = f[0].Name
		}
		if first != want || report.Verified != (want == "") {
			t.Errorf("authority of TPMs %s: got verified %v, failures %+v", name, report.Verified, report.Failures())
		}
	}
}
