package efivar

import (
	"bytes"
	"slices"
	"testing"
)

// cutVolume is a real volume with less room: small enough to mutate.
func cutVolume(t testing.TB, name string, size int) []byte {
	v := bytes.Clone(firmware(t, name)[:size])
	le.PutUint32(v[0x48+16:], uint32(size-0x48))
	return v
}

// Variables lie inside the volume, and are written as they were read.
//
//fuzz:parser store.go
func FuzzRead(f *testing.F) {
	f.Add(cutVolume(f, "OVMF_VARS_4M.ms.fd", 1024))
	f.Add(cutVolume(f, "OVMF_VARS_4M.fd", 512))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, next, err := read(b)
		if err != nil {
			return
		}
		if next > len(b)+3 {
			t.Errorf("next variable goes to %d of %d", next, len(b))
		}
		total := 0
		for _, v := range list {
			total += recordSize + len(v.Data)
			if v.Time.Year() > 9999 { // EFI_TIME: 1900 to 9999; only the clock of others is so far ahead
				continue
			}
			again := cutRead(t, v)
			if again.Name != v.Name || again.Vendor != v.Vendor || again.Attributes != v.Attributes || !bytes.Equal(again.Data, v.Data) {
				t.Errorf("%+v reads back as %+v", v, again)
			}
		}
		if total > len(b) {
			t.Errorf("a volume of %d bytes holds %d of variables", len(b), total)
		}
	})
}

// cutRead writes a variable into an empty store and reads it.
func cutRead(t *testing.T, v Variable) Variable {
	record := v.encode()
	volume := cutVolume(t, "OVMF_VARS_4M.fd", 4096+len(record))
	at, _, err := locate(volume)
	if err != nil {
		t.Fatal(err)
	}
	copy(volume[at:], bytes.Repeat([]byte{0xff}, len(volume)-at))
	copy(volume[at:], record)
	list, err := Read(volume)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: got %d variables, %v", v, len(list), err)
	}
	return list[0]
}

// Enrolling adds the three variables to a volume and takes nothing away.
//
//fuzz:parser enroll.go store.go:read,locate
func FuzzEnroll(f *testing.F) {
	keys := testKeys(f)
	f.Add(cutVolume(f, "OVMF_VARS_4M.fd", 4096))
	f.Add(cutVolume(f, "OVMF_VARS_4M.fd", 600))
	f.Add(cutVolume(f, "OVMF_VARS_4M.ms.fd", 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		had, _ := Read(b)
		volume, err := Enroll(b, keys)
		if !bytes.Equal(b, before) {
			t.Fatal("the volume that was given was altered")
		}
		if err != nil {
			return
		}
		got, err := Read(volume)
		if err != nil || len(volume) != len(b) {
			t.Fatalf("enrolled volume of %d bytes, had %d: %v", len(volume), len(b), err)
		}
		names := func(list []Variable) (n []string) {
			for _, v := range list {
				n = append(n, v.Name)
			}
			return n
		}
		if want := append(names(had), "PK", "KEK", "db"); !slices.Equal(names(got), want) {
			t.Errorf("got %q, want %q", names(got), want)
		}
	})
}
