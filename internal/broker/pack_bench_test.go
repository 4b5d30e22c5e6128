package broker

import (
	"testing"
	"time"
)

func BenchmarkKeepToken(b *testing.B) {
	token := fullToken(b, &tokenMaker{keys: fixed(TokenKey{Signer: newKey(b)}), issuer: "holdfast", life: time.Minute, now: time.Now})
	for b.Loop() {
		keepToken(token, "")
	}
}
