package measure

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/guid"
	"holdfast/internal/boot/uki"
)

func newCert(t *testing.T, name string) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func newKeys(t *testing.T) (efivar.Keys, *rsa.PrivateKey) {
	t.Helper()
	pk, _ := newCert(t, "test PK")
	kek, _ := newCert(t, "test KEK")
	db, key := newCert(t, "test db")
	return efivar.Keys{Owner: guid.GUID{0xab, 1}, PK: pk, KEK: kek, DB: db, Time: time.Unix(1.7e9, 0)}, key
}

func volume(t *testing.T, keys *efivar.Keys) []byte {
	t.Helper()
	b, err := os.ReadFile(emptyVolume)
	if err == nil && keys != nil {
		b, err = efivar.Enroll(b, *keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBootedPCRsEqualThePredicted(t *testing.T) {
	kernel := needVM(t)
	unsigned := testUKI(t, kernel)
	keys, key := newKeys(t)
	signed, err := uki.Sign(unsigned, keys.DB, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		boot Boot
	}{
		{"secure-boot-on", Boot{UKI: signed, Keys: &keys}},
		{"secure-boot-off", Boot{UKI: unsigned}},
	} {
		t.Run(c.name, func(t *testing.T) { compare(t, c.boot) })
	}
}

func compare(t *testing.T, b Boot) {
	want, err := Predict(b)
	if err != nil {
		t.Fatal(err)
	}
	got := boot(t, disk(t, b.UKI), volume(t, b.Keys))
	if got.refused {
		t.Fatal("firmware refused the UKI")
	}
	t.Logf("init ran %v after the start", got.init.Round(10*time.Millisecond))
	for pcr, value := range want.PCRs {
		t.Logf("PCR %2d: predicted %x, read %x", pcr, value, got.pcrs[pcr])
		if value != got.pcrs[pcr] {
			t.Errorf("PCR %d: predicted %x, read %x", pcr, value, got.pcrs[pcr])
		}
	}
	if dir := os.Getenv("HOLDFAST_TEST_RECORD"); dir != "" {
		record(t, filepath.Join(dir, filepath.Base(t.Name())), got)
	}
}

// record keeps what the tests in recorded_test.go read.
func record(t *testing.T, path string, c *console) {
	t.Helper()
	var pcrs strings.Builder
	for i := range 24 {
		fmt.Fprintf(&pcrs, "%d %x\n", i, c.pcrs[i])
	}
	err := os.WriteFile(path+".log", c.log, 0o644)
	if err == nil {
		err = os.WriteFile(path+".pcrs", []byte(pcrs.String()), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Firmware writes its boot options and its memory map into the volume at the
// first boot; the second finds them there.
func TestKeptVariablesLeaveThePCRsAlone(t *testing.T) {
	kernel := needVM(t)
	keys, key := newKeys(t)
	signed, err := uki.Sign(testUKI(t, kernel), keys.DB, key)
	if err != nil {
		t.Fatal(err)
	}
	path := disk(t, signed)
	first := boot(t, path, volume(t, &keys))
	second := boot(t, path, first.vars)
	t.Logf("init ran after %v, then after %v", first.init.Round(10*time.Millisecond), second.init.Round(10*time.Millisecond))
	for _, pcr := range []int{0, 2, 3, 4, 6, 7, 9, 11, 12, 13} {
		if first.pcrs[pcr] != second.pcrs[pcr] {
			t.Errorf("PCR %d: first %x, then %x", pcr, first.pcrs[pcr], second.pcrs[pcr])
		}
	}
}

func TestFirmwareRefusesAnUnsignedUKI(t *testing.T) {
	kernel := needVM(t)
	keys, _ := newKeys(t)
	if got := boot(t, disk(t, testUKI(t, kernel)), volume(t, &keys)); !got.refused {
		t.Error("it ran")
	}
}
