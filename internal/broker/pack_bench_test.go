package broker

import (
	"testing"
	"time"
)

func BenchmarkPackToken(b *testing.B) {
	token := fullToken(b, &tokenMaker{keys: fixed(TokenKey{Signer: newKey(b)}), issuer: "holdfast", life: time.Minute, now: time.Now})
	payload := unpack(token.kept.payload)
	for b.Loop() {
		pack(payload)
	}
}
