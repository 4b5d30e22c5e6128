package wiring

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest/initdata"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/sample"
)

// anybody is a machine that proves nothing.
type anybody struct{}

func (anybody) TEE() string { return sample.TEE }

func (anybody) Offer(context.Context) (*api.ActivationOffer, error) { return nil, nil }

func (anybody) Evidence(_ context.Context, digest []byte, _ *api.ActivationChallenge) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"svn": "1", "report_data": digest})
}

const passportDocument = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"aa.toml\" = \"x\"\n"

// served is a broker that releases default/key/x to who has passportDocument.
func served(t *testing.T, issuers string) *Services {
	t.Helper()
	i, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", Issuers: issuers, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Evidence: EvidenceConfig{AcceptSample: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	document, err := initdata.Parse(&api.InitDataMessage{Format: "toml", Body: passportDocument})
	if err != nil {
		t.Fatal(err)
	}
	admin := s.admin()
	defer admin.Close()
	if err := admin.SetResource(t.Context(), "default/key/x", []byte("the key of "+s.BrokerName())); err != nil {
		t.Fatal(err)
	}
	if err := admin.Allow(t.Context(), document.Digest, []string{"default/key/x"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// show asks a broker for the resource by a token, and returns its answer.
func show(t *testing.T, s *Services, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.BrokerURL()+api.KBSPrefix+"/resource/default/key/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	_ = response.Write(&text)
	return response.StatusCode, text.String()
}

func list(t *testing.T, path, name, how string) {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, "issuers:\n  - name: %s\n    %s\n", name, how), 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually asks until the answer is as wanted: files are looked at each second.
func eventually(t *testing.T, s *Services, token string, want int) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		status, text := show(t, s, token)
		if status == want {
			return text
		}
		if time.Now().After(end) {
			t.Fatalf("got %d, want %d: %s", status, want, text)
		}
	}
}

func TestTokenOfABrokerCountsOnlyWhereItIsTrusted(t *testing.T) {
	a := served(t, "")
	client, err := kbc.New(kbc.Config{URL: a.BrokerURL(), Attester: anybody{}, InitData: []byte(passportDocument)})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := client.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byURL, byRoot := filepath.Join(t.TempDir(), "url.yaml"), filepath.Join(t.TempDir(), "root.yaml")
	list(t, byURL, a.BrokerName(), "jwks: "+a.BrokerURL()+"/.well-known/jwks.json")
	list(t, byRoot, a.BrokerName(), "certificates: "+filepath.Join(a.ring.Dir(), "root.crt"))
	for _, file := range []string{byURL, byRoot} {
		b := served(t, file)
		eventually(t, b, token, http.StatusOK)
		if b.BrokerName() == a.BrokerName() {
			t.Error("two brokers have one name")
		}
		list(t, file, "holdfast:another", "certificates: "+filepath.Join(a.ring.Dir(), "root.crt"))
		eventually(t, b, token, http.StatusUnauthorized)
		list(t, file, a.BrokerName(), "certificates: "+filepath.Join(b.ring.Dir(), "root.crt"))
		time.Sleep(1100 * time.Millisecond)
		if status, text := show(t, b, token); status != http.StatusUnauthorized || !strings.Contains(text, "no root of the issuer") {
			t.Errorf("by another root: got %d %s", status, text)
		}
		list(t, file, a.BrokerName(), "certificates: "+filepath.Join(a.ring.Dir(), "root.crt"))
		eventually(t, b, token, http.StatusOK)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if text := eventually(t, b, token, http.StatusUnauthorized); !strings.Contains(text, "nor another that this broker trusts") {
			t.Errorf("got %s", text)
		}
	}
	if status, text := show(t, served(t, ""), token); status != http.StatusUnauthorized || !strings.Contains(text, a.BrokerName()) {
		t.Errorf("a broker that trusts nobody: got %d %s", status, text)
	}
}
