package enc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

//fuzz:parser enc.go:ParsePublic,ParsePrivate,check decrypt.go:Unwrap,unwrapOne,noKey,Decrypt strict.go annotations.go
func FuzzAnnotations(f *testing.F) {
	_, annotations := seal(f, []byte("plain"))
	f.Add(annotations[AnnotationOptions], annotations[AnnotationBroker])
	f.Add(annotations[AnnotationOptions], base64.StdEncoding.EncodeToString(golden(f, "v1.json")))
	f.Add("", ",")
	f.Fuzz(func(t *testing.T, public, packets string) {
		all := map[string]string{AnnotationOptions: public, AnnotationBroker: packets, "other": "x"}
		if others := Others(all); len(others) != 1 || others["other"] != "x" {
			t.Errorf("others are %v", others)
		}
		list, err := Packets(packets)
		if err == nil && packets != "" && join(list) != packets {
			t.Errorf("%d packets of %q read back as %q", len(list), packets, join(list))
		}
		options, err := Unwrap(t.Context(), all, keyOf(kek))
		if err != nil {
			return
		}
		if _, err := Decrypt(strings.NewReader(""), options); err != nil {
			t.Errorf("unwrapped options are not usable: %v", err)
		}
	})
}

func join(packets [][]byte) string {
	var list []string
	for _, p := range packets {
		list = append(list, base64.StdEncoding.EncodeToString(p))
	}
	return strings.Join(list, ",")
}

// A packet that opens was sealed under this very key, and what it says is
// written as it was read.
//
//fuzz:parser packet.go:CheckKID,ParsePacket,Open,newGCM strict.go
func FuzzPacket(f *testing.F) {
	f.Add(golden(f, "v1.json"))
	f.Add(golden(f, "sample_kbc_annotation.json"))
	sealed, err := SealPacket(kid, kek, []byte("options"))
	if err != nil {
		f.Fatal(err)
	}
	good, _ := json.Marshal(sealed)
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		packet, err := ParsePacket(raw)
		if err != nil {
			return
		}
		if options, err := packet.Open(kek); err == nil && string(options) != "options" {
			t.Errorf("opened to %q", options)
		}
		if _, err := packet.Open(bytes.Repeat([]byte{8}, keySize)); err == nil {
			t.Error("opened with another key")
		}
		if CheckKID(packet.KID) == nil && (strings.Contains(packet.KID, "/../") || strings.Count(packet.KID, "/") != 5) {
			t.Errorf("resource %q", packet.KID)
		}
		text, err := json.Marshal(packet)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParsePacket(text); err != nil || again != packet {
			t.Errorf("%+v reads back as %+v, %v", packet, again, err)
		}
	})
}

// A layer that was altered, cut or prolonged in any way never reads to its end.
//
//fuzz:parser decrypt.go:Decrypt,Read,Close enc.go:ParsePublic,check
func FuzzDecrypt(f *testing.F) {
	plain := bytes.Repeat([]byte("a layer "), 40)
	ciphertext, annotations := seal(f, plain)
	f.Add(uint16(0), []byte(nil), uint16(0), annotations[AnnotationOptions])
	f.Add(uint16(100), []byte{1, 2, 3}, uint16(0), annotations[AnnotationOptions])
	f.Add(uint16(0), []byte(nil), uint16(7), annotations[AnnotationOptions])
	f.Add(uint16(320), bytes.Repeat([]byte{9}, 40), uint16(0), annotations[AnnotationOptions])
	f.Fuzz(func(t *testing.T, at uint16, with []byte, cut uint16, public string) {
		start := int(at) % (len(ciphertext) + 1)
		layer := append(bytes.Clone(ciphertext[:start]), with...)
		layer = append(layer, ciphertext[min(start+len(with), len(ciphertext)):]...)
		layer = layer[:len(layer)-int(cut)%(len(layer)+1)]
		got, err := open(bytes.NewReader(layer), map[string]string{
			AnnotationOptions: public, AnnotationBroker: annotations[AnnotationBroker]}, kek)
		if err == nil && !bytes.Equal(got, plain) {
			t.Errorf("an altered layer reads as %q", got)
		}
	})
}
