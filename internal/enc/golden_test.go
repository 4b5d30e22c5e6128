package enc

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/oci"
)

// sampleKey seals a packet in testdata/guest-components; see its README.
var sampleKey = []byte{
	217, 155, 119, 5, 176, 186, 122, 22, 130, 149, 179, 163, 54, 114, 112, 176, 221, 155, 55, 27,
	245, 20, 202, 139, 155, 167, 240, 163, 55, 17, 218, 234,
}

func TestPacketOfGuestComponentsOpens(t *testing.T) {
	packet, err := ParsePacket(golden(t, "sample_kbc_annotation.json"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := packet.Open(sampleKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ParsePrivate(options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.ParseDigest(string(private.Digest)); err != nil {
		t.Fatalf("plaintext %v", err)
	}
}

func TestOldPacketOfGuestComponentsIsRead(t *testing.T) {
	packet, err := ParsePacket(golden(t, "v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "kbs:///kbs:///default/key/1"; packet.KID != want {
		t.Fatalf("got kid %s, want %s", packet.KID, want)
	}
}

func TestBrokerKeyAsksForTheResourceOfTheGoldenPacket(t *testing.T) {
	var asked string
	key := BrokerKey(func(_ context.Context, kid string) ([]byte, error) {
		asked = kid
		return sampleKey, nil
	})
	if _, err := key.Unwrap(t.Context(), golden(t, "sample_kbc_annotation.json")); err != nil {
		t.Fatal(err)
	}
	if want := "kbs:///default/key/1"; asked != want {
		t.Fatalf("asked for %s, want %s", asked, want)
	}
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "guest-components", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
