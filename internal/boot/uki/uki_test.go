package uki

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const stubPath = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

func testSections() []Section {
	return []Section{
		{OSRelease, []byte("ID=holdfast\n")},
		{Cmdline, []byte("console=ttyS0")},
		{Linux, bytes.Repeat([]byte("kernel"), 5000)},
		{Initrd, bytes.Repeat([]byte("initrd!"), 7001)},
	}
}

func buildTest(t testing.TB) []byte {
	t.Helper()
	stub, err := os.ReadFile(stubPath)
	if err != nil {
		t.Skip("needs systemd's stub: apt install systemd-boot-efi")
	}
	image, err := Build(stub, testSections())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

var signer = sync.OnceValues(func() (*x509.Certificate, *rsa.PrivateKey) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xfedc),
		Subject:      pkix.Name{CommonName: "test db"},
		NotBefore:    time.Unix(0, 0), NotAfter: time.Unix(4e9, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert, key
})

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("needs %s", argv[0])
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

func TestObjdumpSeesTheSections(t *testing.T) {
	image := buildTest(t)
	out := run(t, "objdump", "-h", write(t, "uki", image))
	for _, want := range []string{
		`\.sdmagic +00000034 +0000000000019100`,
		`\.osrel +0000000c +000000000001a000`,
		`\.cmdline +0000000d +000000000001b000`,
		`\.linux +00007530 +000000000001c000`,
		`\.initrd +0000bf6f +0000000000024000`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	path := write(t, "copied", nil)
	for _, s := range testSections() {
		run(t, "objcopy", "--dump-section", s.Name+"="+path, write(t, "uki", image), write(t, "rest", nil))
		if got, _ := os.ReadFile(path); !bytes.Equal(got, s.Data) {
			t.Errorf("objcopy takes %d bytes out of %s, want %d", len(got), s.Name, len(s.Data))
		}
	}
}

func TestSectionsReadBack(t *testing.T) {
	got, err := Sections(buildTest(t))
	if err != nil {
		t.Fatal(err)
	}
	want := testSections()
	got = got[len(got)-len(want):]
	for i := range want {
		if got[i].Name != want[i].Name || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Errorf("%s: got %s with %d bytes", want[i].Name, got[i].Name, len(got[i].Data))
		}
	}
}

func TestSbverifyAcceptsTheSignature(t *testing.T) {
	cert, key := signer()
	signed, err := Sign(buildTest(t), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	certPath := write(t, "db.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	out := run(t, "sbverify", "--cert", certPath, write(t, "uki", signed))
	if !strings.Contains(out, "Signature verification OK") || strings.Contains(out, "warning") {
		t.Error(out)
	}
	if err := Verify(signed, cert); err != nil {
		t.Error(err)
	}
}

func TestSbsignComputesTheSameHash(t *testing.T) {
	cert, key := signer()
	image := buildTest(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPath := write(t, "db.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	certPath := write(t, "db.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	out := write(t, "signed", nil)
	run(t, "sbsign", "--key", keyPath, "--cert", certPath, "--output", out, write(t, "uki", image))
	theirs, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(theirs, cert); err != nil {
		t.Errorf("sbsign's signature: %v", err)
	}
	want, _ := Hash(image)
	got, err := Hash(theirs)
	if err != nil || got != want {
		t.Errorf("hash of sbsign's image is %x, %v; before signing it was %x", got, err, want)
	}
	if !bytes.Contains(theirs, want[:]) {
		t.Error("sbsign signed another hash")
	}
}

func TestSigningTwiceGivesTheSameBytes(t *testing.T) {
	cert, key := signer()
	a, err := Sign(buildTest(t), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Sign(buildTest(t), cert, key)
	if !bytes.Equal(a, b) {
		t.Error("signed images differ")
	}
}

func TestAlteredImageIsRefused(t *testing.T) {
	cert, key := signer()
	signed, err := Sign(buildTest(t), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(signed, []byte("console=ttyS0"))
	signed[at] = 'C'
	if err := Verify(signed, cert); err == nil {
		t.Error("accepted")
	}
	if err := Verify(buildTest(t), cert); err == nil {
		t.Error("unsigned image accepted")
	}
}

func TestBadSectionsAreRefused(t *testing.T) {
	stub, err := os.ReadFile(stubPath)
	if err != nil {
		t.Skip("needs systemd's stub: apt install systemd-boot-efi")
	}
	for name, sections := range map[string][]Section{
		"the stub's own": {{".text", []byte("x")}},
		"twice":          {{Linux, []byte("x")}, {Linux, []byte("x")}},
		"empty":          {{Linux, nil}},
		"long name":      {{".longname", []byte("x")}},
	} {
		if _, err := Build(stub, sections); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Build([]byte("#!/bin/sh"), nil); !errors.Is(err, ErrNotPE) {
		t.Errorf("script as a stub: got %v", err)
	}
}

func TestSplitUndoesBuildAndSign(t *testing.T) {
	cert, key := signer()
	signed, err := Sign(buildTest(t), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := Unsigned(signed)
	if err != nil {
		t.Fatal(err)
	}
	if Signed(bare) {
		t.Error("the signature is still there")
	}
	stub, sections, err := Split(signed)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Build(stub, sections)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, buildTest(t)) {
		t.Error("the parts make another image")
	}
}
