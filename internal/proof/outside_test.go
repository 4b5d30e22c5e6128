package proof

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/sign"
)

// extracted are the parts of the recorded proof as files for others' tools.
type extracted struct {
	t   *testing.T
	dir string
}

func (x extracted) write(name string, data []byte) string {
	x.t.Helper()
	path := filepath.Join(x.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		x.t.Fatal(err)
	}
	return path
}

func (x extracted) certificate(name string, ders ...[]byte) string {
	var all []byte
	for _, der := range ders {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return x.write(name, all)
}

// run returns what a tool printed, and whether it was content.
func (x extracted) run(name string, args ...string) (string, bool) {
	x.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		x.t.Skipf("%s is not installed; run it with: apt-get install openssl tpm2-tools", name)
	}
	out, err := exec.CommandContext(x.t.Context(), name, args...).CombinedOutput()
	return string(out), err == nil
}

func base64Of(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTPM2ToolsAcceptTheQuoteInAProof(t *testing.T) {
	p, err := Peek(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := p.Attestation.Message
	e, err := verify.Parse(m.TEEEvidence.Primary)
	if err != nil {
		t.Fatal(err)
	}
	nonce, err := attest.RuntimeDigest(m.RuntimeData, m.TEEEvidence.Additional)
	if err != nil {
		t.Fatal(err)
	}
	x := extracted{t, t.TempDir()}
	bank := serialized(t, e.Quote.PCRs)
	args := []string{
		"-u", x.write("ak.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: base64Of(t, e.AKPublic)})),
		"-m", x.write("message", base64Of(t, e.Quote.Message)), "-s", x.write("signature", base64Of(t, e.Quote.Signature)),
		"-g", "sha256",
	}
	good := x.write("pcrs", bank)
	bank[len(bank)-64] ^= 1
	for _, c := range []struct {
		name, nonce, pcrs string
		want              bool
	}{
		{"as in the proof", hex.EncodeToString(nonce[:32]), good, true},
		{"with another nonce", strings.Repeat("00", 32), good, false},
		{"with another PCR", hex.EncodeToString(nonce[:32]), x.write("other-pcrs", bank), false},
	} {
		out, ok := x.run("tpm2_checkquote", append(args, "-q", c.nonce, "-f", c.pcrs)...)
		if ok != c.want {
			t.Errorf("%s: accepted %v, want %v\n%s", c.name, ok, c.want, out)
		}
	}
	out, ok := x.run("tpm2_eventlog", x.write("log", e.EventLog))
	for _, n := range []int{4, 7, 8, 11} {
		if !ok || !strings.Contains(strings.ToLower(out), e.Quote.PCRs[n]) {
			t.Errorf("tpm2_eventlog does not replay PCR %d to %s", n, e.Quote.PCRs[n])
		}
	}
}

// serialized is a file as tpm2_quote writes it: the structures that the TSS has
// in memory, little-endian (TPML_PCR_SELECTION, then lists of at most eight
// digests of at most 64 bytes).
func serialized(t *testing.T, values []string) []byte {
	t.Helper()
	const banks, perList, digestSpace = 16, 8, 64
	le := binary.LittleEndian
	out := le.AppendUint32(nil, 1)
	out = le.AppendUint16(out, uint16(tpm2.TPMAlgSHA256))
	out = append(out, 3, 0xff, 0xff, 0xff, 0, 0) // all of 24 PCRs, and padding
	out = append(out, make([]byte, 8*(banks-1))...)
	out = le.AppendUint32(out, uint32(len(values)/perList))
	for i, value := range values {
		raw, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		if i%perList == 0 {
			out = le.AppendUint32(out, perList)
		}
		out = le.AppendUint16(out, uint16(len(raw)))
		out = append(out, raw...)
		out = append(out, make([]byte, digestSpace-len(raw))...)
	}
	return out
}

func TestOpensslAcceptsTheCertificatesInAProof(t *testing.T) {
	p, err := Peek(read(t, "proof.json"))
	if err != nil {
		t.Fatal(err)
	}
	reference, err := sign.ParseEnvelope(p.Attestation.References[0])
	if err != nil {
		t.Fatal(err)
	}
	x := extracted{t, t.TempDir()}
	root, ekRoot := x.write("root.pem", read(t, "root.pem")), x.write("ek-root.pem", read(t, "ek-root.pem"))
	chain := x.certificate("chain.pem", p.Attestation.EndorsementChain...)
	at := fmt.Sprint(recordedAt.Unix())
	for name, args := range map[string][]string{
		"broker":      {"-CAfile", root, x.certificate("broker.pem", envelope(t).Signatures[0].Certificate)},
		"token":       {"-CAfile", root, x.certificate("token.pem", p.Attestation.TokenCertificate)},
		"images":      {"-CAfile", root, x.certificate("image.pem", reference.Signatures[0].Certificate)},
		"endorsement": {"-CAfile", ekRoot, "-untrusted", chain, x.certificate("ek.pem", p.Attestation.Offer.EKCertificate)},
	} {
		if out, ok := x.run("openssl", append([]string{"verify", "-attime", at}, args...)...); !ok {
			t.Errorf("%s: %s", name, out)
		}
		other := map[bool]string{true: ekRoot, false: root}[args[1] == root]
		if out, ok := x.run("openssl", append([]string{"verify", "-attime", at, "-CAfile", other}, args[2:]...)...); ok {
			t.Errorf("%s: accepted under the wrong root: %s", name, out)
		}
	}
}

// The bytes that are signed are put together here from the words of the DSSE
// protocol, not by package sign.
func TestOpensslAcceptsTheBrokersSignature(t *testing.T) {
	env := envelope(t)
	x := extracted{t, t.TempDir()}
	cert := x.certificate("broker.pem", env.Signatures[0].Certificate)
	key, ok := x.run("openssl", "x509", "-in", cert, "-noout", "-pubkey")
	if !ok {
		t.Fatal(key)
	}
	signed := fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d ", len(env.Payload))
	signed = append(signed, env.Payload...)
	public, sig := x.write("key.pem", []byte(key)), x.write("sig", env.Signatures[0].Sig)
	for name, c := range map[string]struct {
		bytes []byte
		want  bool
	}{
		"as signed": {signed, true},
		"changed":   {bytes.Replace(signed, []byte("greeting"), []byte("greetinG"), 1), false},
	} {
		out, ok := x.run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", x.write("signed", c.bytes), "-sigfile", sig)
		if ok != c.want {
			t.Errorf("%s: accepted %v, want %v: %s", name, ok, c.want, out)
		}
	}
}
