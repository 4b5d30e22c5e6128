package broker

import (
	"bytes"
	"crypto/elliptic"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
)

// sessionsOfAFlood are those of a test of seconds; make soak has a million.
func sessionsOfAFlood() int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 1_000_000
	}
	return 20_000
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAMillionHandshakesTakeNoMemory(t *testing.T) {
	n := sessionsOfAFlood()
	b := newBench(t, func(c *Config) { c.Limits.Source = Rate{Every: -1} })
	b.furnish()
	honest, early := b.machine(), b.machine()
	honest.auth()
	honest.attest()
	honest.token = ""
	early.auth()
	body := `{"version":"0.4.0","tee":"tpm","extra-params":{"tpm-activation":{}}}`
	before := heap()
	for range n {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("POST", "/kbs/v0/auth", strings.NewReader(body)))
		if w.Code != 200 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d handshakes left %d bytes", n, grown)
	}
	early.attest()
	if status, answer := honest.call("GET", "/kbs/v0/resource/default/key/x", nil); status != 200 {
		t.Errorf("the attested session: %d %s", status, answer)
	}
}

// fullToken is one with all that a TPM's token has.
func fullToken(t testing.TB, m *tokenMaker) issuedToken {
	_, jwk := ecJWK(t, elliptic.P256(), "P-256")
	r := ear.Result{
		Session: randomHex(8), TEE: "tpm", Trust: map[string]int8{"hardware": 2, "executables": 3, "configuration": 2},
		Claims: map[string]any{"init_data": randomHex(32), "report_data": randomHex(32), "ak_name": randomHex(34), "ak_public": base64url(randomBytes(294)),
			"ek_certificate": randomHex(32), "tpm": map[string]string{"manufacturer": "id:00001014", "model": "swtpm", "version": "id:20191023"},
			"init_data_digest": randomHex(32), "secure_boot": true, "event_log_pcrs": []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14},
			"boot_programs": []string{randomHex(32), randomHex(32)}, "uki_sections": []string{".linux", ".osrel", ".cmdline", ".initrd", ".uname"}},
		InitData: &initdata.Document{Digest: initDataDigest, Data: map[string]string{"holdfast.json": strings.Repeat(`{"name":"password"}`, 20)}},
		Runtime:  api.RuntimeData{Nonce: randomHex(22), TEEPubKey: jwk},
	}
	for i := range 24 {
		r.Claims[fmt.Sprintf("pcr%02d", i)] = zeroPCR
		if i < 15 {
			r.Claims[fmt.Sprintf("pcr%02d", i)] = randomHex(32)
		}
	}
	key, err := m.key()
	check(t, err)
	token, err := m.issueBy(newDesk(), key, r)
	check(t, err)
	return token
}

// measureRest is what n sessions of machines with a TPM each take.
func measureRest(t testing.TB, n int) float64 {
	key := newKey(t)
	m := &tokenMaker{keys: fixed(TokenKey{Signer: key}), issuer: "holdfast", life: time.Minute, now: time.Now}
	tokens := make([]issuedToken, 50)
	for i := range tokens {
		tokens[i] = fullToken(t, m)
	}
	before := heap()
	s := newSessions(2*n, 16, time.Hour, time.Now)
	for i := range n {
		own := tokens[i%len(tokens)].kept
		own.payload = bytes.Clone(own.payload)
		if _, err := s.add(device{name: digestOf([]byte(strconv.Itoa(i)))}, own); err != nil {
			t.Fatal(err)
		}
	}
	each := float64(heap()-before) / float64(n)
	if s.count() != n {
		t.Fatalf("got %d sessions", s.count())
	}
	id := s.queue[n-1]
	if got := s.token(hex.EncodeToString(id[:])); got != string(tokens[(n-1)%len(tokens)].text) {
		t.Fatalf("got another token: %s", got)
	}
	return each
}

func TestASessionAtRestTakesFourKibibytesAtMost(t *testing.T) {
	got := measureRest(t, sessionsOfAFlood()/10)
	t.Logf("%.0f bytes", got)
	if got > atRest {
		t.Errorf("a session takes %.0f bytes, want at most %d", got, atRest)
	}
}

func BenchmarkSessionAtRest(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(measureRest(b, 10_000), "bytes/session")
	}
	m := &tokenMaker{keys: fixed(TokenKey{Signer: newKey(b)}), issuer: "holdfast", life: time.Minute, now: time.Now}
	b.ReportMetric(float64(len(fullToken(b, m).text)), "bytes/token")
}

func TestALargeTokenCountsAsSeveralSessions(t *testing.T) {
	s := newSessions(4, 16, time.Hour, time.Now)
	large := keptToken{payload: pack(randomBytes(10_000))}
	if _, err := s.add(device{name: "a"}, large); err != nil {
		t.Fatal(err)
	}
	if _, err := s.add(device{name: "b"}, large); err == nil {
		t.Error("two tokens of 10000 bytes fit into 16 KiB")
	}
	if _, err := s.add(device{name: "c"}, keptToken{}); err != nil {
		t.Error(err)
	}
}
