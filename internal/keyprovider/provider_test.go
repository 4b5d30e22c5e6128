package keyprovider_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/ocicrypt/config"
	kpconfig "github.com/containers/ocicrypt/config/keyprovider-config"
	"github.com/containers/ocicrypt/keywrap"
	ocicrypt "github.com/containers/ocicrypt/keywrap/keyprovider"

	"holdfast/internal/enc"
	"holdfast/internal/keyprovider"
)

// A store is a broker in memory.
type store map[string][]byte

func (s store) Create(_ context.Context, kid string, key []byte) error {
	if _, ok := s[kid]; !ok {
		if key == nil {
			key = bytes.Repeat([]byte{byte(len(s) + 1)}, 32)
		}
		s[kid] = key
	}
	return nil
}

func (s store) Wrap(_ context.Context, kid string, options []byte) (json.RawMessage, error) {
	packet, err := enc.SealPacket(kid, s[kid], options)
	if err != nil {
		return nil, err
	}
	return json.Marshal(packet)
}

func (s store) Unwrap(_ context.Context, raw json.RawMessage) ([]byte, error) {
	packet, err := enc.ParsePacket(raw)
	if err != nil {
		return nil, err
	}
	key, ok := s[packet.KID]
	if !ok {
		return nil, errors.New("resource not found: 100 % of it")
	}
	return packet.Open(key)
}

func provider(s store) keyprovider.Provider {
	n := 0
	return keyprovider.Provider{Keys: s, Unwraps: true, NewKID: func() string { n++; return fmt.Sprint("kbs:///default/image-kek/", n) }}
}

// client is ocicrypt's own, as skopeo has it.
func client(t *testing.T, p keyprovider.Provider, network string) keywrap.KeyWrapper {
	t.Helper()
	at, scheme := "127.0.0.1:0", ""
	if network == "unix" {
		at, scheme = filepath.Join(t.TempDir(), "s"), "unix://"
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Serve(t.Context(), l) }()
	t.Cleanup(func() {
		if err := <-done; err != nil { // the test's context has ended
			t.Error(err)
		}
	})
	return ocicrypt.NewKeyWrapper(keyprovider.Name, kpconfig.KeyProviderAttrs{Grpc: scheme + l.Addr().String()})
}

func parameters(word string) *config.EncryptConfig {
	return &config.EncryptConfig{Parameters: map[string][][]byte{keyprovider.Name: {[]byte(word)}}}
}

func TestOcicryptWrapsAndUnwrapsOverGRPC(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		s := store{}
		c := client(t, provider(s), network)
		options := []byte(`{"symkey":"secret"}`)
		packet, err := c.WrapKeys(parameters("keyid=kbs:///default/key/x"), options)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := enc.ParsePacket(packet); err != nil || p.KID != "kbs:///default/key/x" || bytes.Contains(packet, options) {
			t.Errorf("got %s, %v", packet, err)
		}
		if got, err := c.UnwrapKey(&config.DecryptConfig{}, packet); err != nil || !bytes.Equal(got, options) {
			t.Errorf("got %q, %v", got, err)
		}
		delete(s, "kbs:///default/key/x")
		if _, err := c.UnwrapKey(&config.DecryptConfig{}, packet); err == nil || !strings.Contains(err.Error(), "code = Internal desc = resource not found: 100 % of it") {
			t.Errorf("got %v, want the reason", err)
		}
	}
}

func TestWhatIsNotDoneHereIsRefusedWithItsReason(t *testing.T) {
	s := store{"kbs:///default/key/x": bytes.Repeat([]byte{1}, 32)}
	p := provider(s)
	p.Unwraps = false
	c := client(t, p, "tcp")
	for word, want := range map[string]string{
		"sample=true":                     "code = PermissionDenied desc = not done here: sample=true",
		"algorithm=A256CTR":               "want A256GCM",
		"keypath=/etc/passwd":             "reads no files",
		"keyid=kbs://h/default/key/x":     "code = InvalidArgument desc = malformed message: keyid",
		"keyid=kbs:///default/../x":       "want kbs:///REPOSITORY/TYPE/TAG",
		"keyid=/a/b/c::keyid=/a/b/d":      "each once",
		"keyring=x":                       "want keyid, keypath, sample or algorithm",
		"keyid":                           "want KEY=VALUE",
		"keyid=h/a/b/c::algorithm=A256GC": "keyid",
	} {
		if packet, err := c.WrapKeys(parameters(word), []byte("options")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %s, %v, want %q", word, packet, err, want)
		}
	}
	packet, err := s.Wrap(t.Context(), "kbs:///default/key/x", []byte("options"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UnwrapKey(&config.DecryptConfig{}, packet); err == nil || !strings.Contains(err.Error(), "PermissionDenied desc = not done here: keys are unwrapped for the owner") {
		t.Errorf("got %v", err)
	}
}

// numbers is how serde writes a Vec<u8>.
func numbers(b []byte) string {
	list := make([]string, len(b))
	for i, c := range b {
		list[i] = fmt.Sprint(c)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// Go writes bytes as base64 and Rust as an array of numbers; base64 comes in two
// alphabets. All are read, and what is written both families read.
func TestBothEncodingsOfBytesAreRead(t *testing.T) {
	s := store{}
	p := provider(s)
	options := []byte{0xfb, 0xff, 0xfe, 'x', 0}
	word := []byte("keyid=/default/key/x")
	for name, write := range map[string]func([]byte) string{
		"standard":    func(b []byte) string { return `"` + base64.StdEncoding.EncodeToString(b) + `"` },
		"url-safe":    func(b []byte) string { return `"` + base64.URLEncoding.EncodeToString(b) + `"` },
		"no padding":  func(b []byte) string { return `"` + base64.RawURLEncoding.EncodeToString(b) + `"` },
		"an array":    numbers,
		"mixed words": func(b []byte) string { return " " + numbers(b) + "\n" },
	} {
		raw := fmt.Sprintf(`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"attestation-agent":[%s]},"DecryptConfig":{"Parameters":{}}},"optsdata":%s},"keyunwrapparams":{"dc":null,"annotation":null}}`,
			write(word), write(options))
		answer, err := p.Answer(t.Context(), []byte(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var theirs ocicrypt.KeyProviderKeyWrapProtocolOutput
		var rust struct {
			Results struct{ Annotation []int } `json:"keywrapresults"`
		}
		if err := errors.Join(json.Unmarshal(answer, &theirs), json.Unmarshal(answer, &rust)); err != nil || len(rust.Results.Annotation) != len(theirs.KeyWrapResults.Annotation) {
			t.Fatalf("%s: %v in %s", name, err, answer)
		}
		raw = fmt.Sprintf(`{"op":"keyunwrap","keywrapparams":{"ec":null,"optsdata":null},"keyunwrapparams":{"dc":{"Parameters":{"attestation-agent":["bnVsbA=="]}},"annotation":%s}}`,
			write(theirs.KeyWrapResults.Annotation))
		answer, err = p.Answer(t.Context(), []byte(raw))
		if want := `{"keyunwrapresults":{"optsdata":` + numbers(options) + `}}`; err != nil || string(answer) != want {
			t.Errorf("%s: got %s, %v, want %s", name, answer, err, want)
		}
	}
}

func TestMessagesThatAreNoneAreRefused(t *testing.T) {
	p := provider(store{})
	for _, raw := range []string{"", "[]", "{}", `{"op":"keyring"}`, `{"op":"keywrap"}`,
		`{"op":"keywrap","keywrapparams":{"optsdata":"AA=="}}`,
		`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"other":[]}},"optsdata":"AA=="}}`,
		`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"attestation-agent":[]}},"optsdata":"AA=="}}`,
		`{"op":"keywrap","keywrapparams":{"optsdata":[256]}}`, `{"op":"keywrap","keywrapparams":{"optsdata":[-1]}}`,
		`{"op":"keywrap","keywrapparams":{"optsdata":[1.5]}}`, `{"op":"keywrap","keywrapparams":{"optsdata":"A\nA="}}`,
		`{"op":"keyunwrap","keyunwrapparams":{"annotation":"e30="}}`,
	} {
		if answer, err := p.Answer(t.Context(), []byte(raw)); !errors.Is(err, keyprovider.ErrMessage) {
			t.Errorf("%s: got %s, %v", raw, answer, err)
		}
	}
}

func TestOnlyGRPCIsSpoken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, done := provider(store{}), make(chan error, 1)
	go func() { done <- p.Serve(t.Context(), l) }()
	t.Cleanup(func() { <-done })
	if answer, err := http.Post("http://"+l.Addr().String()+keyprovider.WrapPath, "application/grpc", strings.NewReader("\x00\x00\x00\x00\x00")); err == nil {
		_ = answer.Body.Close()
		t.Errorf("HTTP/1.1: got %s", answer.Status)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	h2 := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	for name, c := range map[string]struct {
		path, kind, body string
		status           int
		code             string
	}{
		"a page":         {keyprovider.WrapPath, "text/html", "", 415, ""},
		"other method":   {"/keyprovider.KeyProviderService/Other", "application/grpc", "\x00\x00\x00\x00\x00", 200, "12"},
		"no head":        {keyprovider.WrapPath, "application/grpc", "\x00\x00", 200, "3"},
		"compressed":     {keyprovider.WrapPath, "application/grpc", "\x01\x00\x00\x00\x00", 200, "3"},
		"a huge one":     {keyprovider.WrapPath, "application/grpc", "\x00\xff\xff\xff\xff", 200, "8"},
		"two of them":    {keyprovider.WrapPath, "application/grpc", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 200, "3"},
		"no field":       {keyprovider.WrapPath, "application/grpc", "\x00\x00\x00\x00\x02\x0a\x09", 200, "3"},
		"the other's op": {keyprovider.UnwrapPath, "application/grpc", "\x00\x00\x00\x00\x10\x0a\x0e{\"op\":\"other\"}", 200, "3"},
	} {
		answer, err := h2.Post("http://"+l.Addr().String()+c.path, c.kind, strings.NewReader(c.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(answer.Body)
		_ = answer.Body.Close()
		if got := answer.Trailer.Get("Grpc-Status"); err != nil || answer.StatusCode != c.status || got != c.code {
			t.Errorf("%s: got %s, status %q (%s), %v", name, answer.Status, got, answer.Trailer.Get("Grpc-Message"), err)
		}
	}
}

//fuzz:parser provider.go message.go parameters.go
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"attestation-agent":["a2V5aWQ9L2EvYi9j"]}},"optsdata":[1,2]}}`))
	f.Add([]byte(`{"op":"keyunwrap","keyunwrapparams":{"annotation":"eyJraWQiOiJrYnM6Ly8vYS9iL2MiLCJ3cmFwcGVkX2RhdGEiOiJBQSIsIml2IjoiQUEiLCJ3cmFwX3R5cGUiOiJBMjU2R0NNIn0="}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := store{}
		answer, err := provider(s).Answer(t.Context(), raw)
		if err == nil && !json.Valid(answer) {
			t.Errorf("answered %q", answer)
		}
		for kid := range s {
			if err := enc.CheckKID(kid); err != nil {
				t.Error(err)
			}
		}
		if p, err := keyprovider.ParseParameters(string(raw)); err == nil && p.KID != "" && enc.CheckKID(p.KID) != nil {
			t.Errorf("took %q", p.KID)
		}
	})
}
