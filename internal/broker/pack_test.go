package broker

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPackedTextComesBackAndIsHardlyEverLonger(t *testing.T) {
	texts := []string{"", "a", "01234567", "0123456", strings.Repeat("0", 65), `{"pcr00":"` + zeroPCR + `","x":"DEADBEEF00112233"}`}
	for range 2000 {
		var text strings.Builder
		for range rand.IntN(8) {
			alphabet := []string{"0123456789abcdef", "xyz{}", "0a", "\x00\xff"}[rand.IntN(4)]
			for range rand.IntN(300) {
				text.WriteByte(alphabet[rand.IntN(len(alphabet))])
			}
		}
		texts = append(texts, text.String())
	}
	for _, text := range texts {
		packed := pack([]byte(text))
		if !bytes.Equal(unpack(packed), []byte(text)) {
			t.Fatalf("%q is packed as %x, which is %q", text, packed, unpack(packed))
		}
		if len(packed) > len(text)+5 {
			t.Errorf("%q: %d bytes became %d", text, len(text), len(packed))
		}
	}
}
