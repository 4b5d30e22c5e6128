package verify

import (
	"bytes"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest/tpm"
)

// templates are areas of all keys that there are, with something of their own.
func templates(t testing.TB) (all [][]byte) {
	add := func(public tpm2.TPMTPublic, fill byte) {
		public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{fill}, 256)})
		if public.Type == tpm2.TPMAlgECC {
			own := tpm2.TPM2BECCParameter{Buffer: bytes.Repeat([]byte{fill}, 32)}
			public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: own, Y: own})
		}
		all = append(all, tpm2.Marshal(public))
	}
	for i, e := range tpm.Endorsements() {
		add(e.Template, byte(i+1))
	}
	for i, a := range []tpm.Algorithm{tpm.RSA, tpm.RSAPSS, tpm.P256, tpm.P384} {
		template, err := a.Template()
		if err != nil {
			t.Fatal(err)
		}
		add(template, byte(i+100))
	}
	return all
}

// knowing has learned from one key of each kind.
func knowing(t testing.TB) *heads {
	h := &heads{}
	for _, data := range templates(t) {
		public, err := parse[tpm2.TPMTPublic](data)
		if err != nil {
			t.Fatal(err)
		}
		h.learn(data, public)
	}
	return h
}

// wantAsRead wants an area to be what go-tpm reads, whatever heads are known.
func wantAsRead(t *testing.T, h *heads, data []byte) {
	t.Helper()
	want, refused := parse[tpm2.TPMTPublic](data)
	got, err := h.parse(data)
	if (err == nil) != (refused == nil) {
		t.Fatalf("%x: got %v, go-tpm says %v", data, err, refused)
	}
	if err == nil && (!bytes.Equal(tpm2.Marshal(got), tpm2.Marshal(want)) || !bytes.Equal(tpm2.Marshal(got), data)) {
		t.Errorf("%x: got %x, go-tpm reads %x", data, tpm2.Marshal(got), tpm2.Marshal(want))
	}
}

func TestAnAreaWithAKnownHeadIsReadAsAnyOther(t *testing.T) {
	h := knowing(t)
	for _, data := range templates(t) {
		other := bytes.Clone(data)
		other[len(other)-1] ^= 0xff
		for n := range len(data) + 1 {
			wantAsRead(t, h, data[:n])
		}
		for i := range data[:min(len(data), 120)] {
			changed := bytes.Clone(data)
			changed[i] ^= 1
			wantAsRead(t, h, changed)
		}
		for _, data := range [][]byte{other, append(bytes.Clone(data), 0), append(bytes.Clone(data), data...)} {
			wantAsRead(t, h, data)
		}
	}
	if len(h.known) > maxHeads {
		t.Errorf("%d heads are known", len(h.known))
	}
}

// One key's area says nothing of the next one's.
func TestHeadsKeepNothingOfAKey(t *testing.T) {
	h := knowing(t)
	for _, data := range templates(t) {
		before := bytes.Clone(data)
		other := bytes.Clone(data)
		other[len(other)-1] ^= 0xff
		public, err := h.parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.parse(other); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tpm2.Marshal(public), before) {
			t.Errorf("%x became %x", before, tpm2.Marshal(public))
		}
	}
}

func TestTheOldestHeadsAreForgotten(t *testing.T) {
	h := &heads{}
	data := templates(t)[0]
	public, err := parse[tpm2.TPMTPublic](data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxHeads {
		public.AuthPolicy.Buffer = []byte{byte(i)}
		h.learn(tpm2.Marshal(public), public)
	}
	if len(h.known) != maxHeads {
		t.Errorf("%d heads are known, want %d", len(h.known), maxHeads)
	}
	wantAsRead(t, h, data)
	wantAsRead(t, h, tpm2.Marshal(public))
}

// Whatever a machine offers is read as go-tpm reads it.
//
//fuzz:parser heads.go
func FuzzHeads(f *testing.F) {
	h := knowing(f)
	for _, data := range templates(f) {
		f.Add(data)
		f.Add(data[:len(data)-1])
	}
	f.Fuzz(func(t *testing.T, data []byte) { wantAsRead(t, h, data) })
}
