package efivar

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/guid"
)

func TestAppendedVariablesAreRead(t *testing.T) {
	more := Variable{Name: "SecureBootEnable", Vendor: Global, Attributes: 3, Data: []byte{0}}
	volume, err := Append(firmware(t, "OVMF_VARS_4M.fd"), more, more)
	if err != nil {
		t.Fatal(err)
	}
	have, err := Read(volume)
	if err != nil || len(have) < 2 {
		t.Fatalf("got %v, %v", have, err)
	}
	if got := have[len(have)-1]; got.Name != more.Name || got.Vendor != more.Vendor || !bytes.Equal(got.Data, more.Data) {
		t.Errorf("got %+v, want %+v", got, more)
	}
	more.Data = make([]byte, len(volume))
	if _, err := Append(volume, more); err == nil {
		t.Error("a variable larger than the volume was taken")
	}
}

func firmware(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("/usr/share/OVMF/" + name)
	if err != nil {
		t.Skip("needs OVMF's variable volumes: apt install ovmf")
	}
	return b
}

func testKeys(t testing.TB) Keys {
	t.Helper()
	cert := func(name string) *x509.Certificate {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return Keys{
		Owner: guid.Must("d5b1c1a0-0000-4000-8000-000000000001"),
		PK:    cert("PK"), KEK: cert("KEK"), DB: cert("db"),
		Time: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// Debian's volume with Microsoft's keys was written by EDK2's own
// EnrollDefaultKeys, running under the firmware.
func TestVolumeWrittenByFirmwareIsRead(t *testing.T) {
	list, err := Read(firmware(t, "OVMF_VARS_4M.ms.fd"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Variable{}
	var names []string
	for _, v := range list {
		names = append(names, fmt.Sprintf("%s %#x %d", v.Name, v.Attributes, len(v.Data)))
		found[v.Name] = v
	}
	t.Log(strings.Join(names, ", "))
	for _, name := range []string{"PK", "KEK", "db"} {
		if v := found[name]; v.Attributes != authenticated || !bytes.HasPrefix(v.Data, certX509[:]) {
			t.Errorf("%s: attributes %#x, %d bytes", name, v.Attributes, len(v.Data))
		}
	}
	if v := found["SecureBootEnable"]; !bytes.Equal(v.Data, []byte{1}) {
		t.Errorf("SecureBootEnable is %x", v.Data)
	}
}

func TestEnrolledKeysReadBack(t *testing.T) {
	empty := firmware(t, "OVMF_VARS_4M.fd")
	keys := testKeys(t)
	volume, err := Enroll(empty, keys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(volume)
	if err != nil {
		t.Fatal(err)
	}
	equal := func(a, b Variable) bool {
		return a.Name == b.Name && a.Vendor == b.Vendor && a.Attributes == b.Attributes && a.Time.Equal(b.Time) && bytes.Equal(a.Data, b.Data)
	}
	if !slices.EqualFunc(got, keys.Variables(), equal) {
		t.Errorf("got %+v", got)
	}
	if len(volume) != len(empty) {
		t.Errorf("volume has %d bytes, was %d", len(volume), len(empty))
	}
	if _, err := Enroll(volume, keys); err == nil {
		t.Error("keys enrolled twice")
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 540672), "code": firmware(t, "OVMF_CODE_4M.fd")} {
		if _, err := Enroll(b, testKeys(t)); !errors.Is(err, ErrNotVolume) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
