package broker

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/api"
	"holdfast/internal/attest/ear"
	"holdfast/internal/broker/admin"
	"holdfast/internal/policy"
)

func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	check(t, err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	check(t, err)
	return token
}

func TestOnlyAnAdministratorsTokenAdministers(t *testing.T) {
	ec := newKey(t)
	b := newBench(t, func(c *Config) { c.AdminKeys = append(c.AdminKeys, &ec.PublicKey) })
	ed := b.admin.Key.(ed25519.PrivateKey)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	now := b.now.Now().Unix()
	claims := func(edit func(map[string]any)) map[string]any {
		c := map[string]any{"role": "admin", "exp": now + 60, "iat": now}
		if edit != nil {
			edit(c)
		}
		return c
	}
	good := claims(nil)
	payload, err := json.Marshal(good)
	check(t, err)
	none := base64url([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + base64url(payload) + "."
	// The public key as an HMAC secret: the classic confusion of algorithms.
	confused := signed(t, jose.HS256, []byte(ed.Public().(ed25519.PublicKey)), good)
	tests := map[string]struct{ token, want string }{
		"none":        {"", "no bearer token was sent"},
		"wrong key":   {signed(t, jose.EdDSA, stranger, good), "not signed by an administrator's key"},
		"alg none":    {none, "unexpected signature algorithm"},
		"HMAC":        {confused, "unexpected signature algorithm"},
		"expired":     {signed(t, jose.EdDSA, ed, claims(func(c map[string]any) { c["exp"] = now - 61 })), "token is expired"},
		"never ends":  {signed(t, jose.EdDSA, ed, claims(func(c map[string]any) { delete(c, "exp") })), "never expires"},
		"not yet":     {signed(t, jose.EdDSA, ed, claims(func(c map[string]any) { c["nbf"] = now + 120 })), "not valid yet"},
		"no role":     {signed(t, jose.EdDSA, ed, claims(func(c map[string]any) { delete(c, "role") })), "role is not admin"},
		"other role":  {signed(t, jose.EdDSA, ed, claims(func(c map[string]any) { c["role"] = "guest" })), "role is not admin"},
		"no token":    {"x.y", "compact JWS format"},
		"cut off":     {strings.TrimSuffix(signed(t, jose.EdDSA, ed, good), "A")[:60], "compact JWS format"},
		"good, Ed":    {signed(t, jose.EdDSA, ed, good), ""},
		"good, P-256": {signed(t, jose.ES256, ec, good), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := b.machine()
			m.token = test.token
			status, body := m.call("GET", "/kbs/v0/holdfast/resources", nil)
			if test.want == "" {
				if status != http.StatusOK {
					t.Errorf("got %d %s, want 200", status, body)
				}
				return
			}
			wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, test.want)
		})
	}
	for _, endpoint := range []string{"POST /resource/a/b/c", "DELETE /resource/a/b/c", "POST /attestation-policy", "POST /resource-policy",
		"GET /resource-policy", "POST /reference-value", "GET /reference-value", "GET /reference-value/x", "DELETE /reference-value/x",
		"GET /holdfast/configurations", "POST /holdfast/configurations", "DELETE /holdfast/configurations/x", "GET /holdfast/audit"} {
		method, path, _ := strings.Cut(endpoint, " ")
		status, body := b.machine().call(method, "/kbs/v0"+path, []byte("{}"))
		wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, "admin access denied for endpoint")
	}
}

func TestAttestationTokenDoesNotAdminister(t *testing.T) {
	b := newBench(t, func(c *Config) { c.AdminKeys = []crypto.PublicKey{&c.TokenKey.PublicKey} }) // one key for both: a mistake
	m := b.machine()
	token, err := b.tokens.issue(ear.Result{TEE: "tpm"})
	check(t, err)
	m.token = token
	status, body := m.call("GET", "/kbs/v0/holdfast/resources", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, "role is not admin")
}

func TestBrokerWithoutAdministratorsKeyIsClosed(t *testing.T) {
	b := newBench(t, func(c *Config) { c.AdminKeys = nil })
	_, err := b.admin.Resources(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no administrator's key") {
		t.Fatalf("got %v", err)
	}
}

func TestAdministratorSeesWhatWasSet(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	ctx := t.Context()
	paths, err := b.admin.Resources(ctx)
	if err != nil || !slices.Equal(paths, []string{"default/key/other", "default/key/x"}) {
		t.Fatalf("got %v, %v", paths, err)
	}
	list, err := b.admin.Configurations(ctx)
	if err != nil || len(list) != 1 || list[0].Digest != initDataDigest || !slices.Equal(list[0].Resources, []string{"default/key/absent", "default/key/x"}) {
		t.Fatalf("got %+v, %v", list, err)
	}
	images, err := b.admin.Images(ctx)
	if err != nil || len(images) != 1 || images[0].Values.Image != "guest" {
		t.Fatalf("got %+v, %v", images, err)
	}
	check(t, b.admin.DeleteResource(ctx, "default/key/x"))
	check(t, b.admin.Distrust(ctx, images[0].ID))
	check(t, b.admin.Withdraw(ctx, initDataDigest))
	for _, again := range []error{b.admin.DeleteResource(ctx, "default/key/x"), b.admin.Distrust(ctx, images[0].ID), b.admin.Withdraw(ctx, initDataDigest)} {
		var refused *admin.RefusedError
		if !errors.As(again, &refused) || refused.Status != http.StatusNotFound {
			t.Errorf("got %v, want not found", again)
		}
	}
	r, err := b.admin.Audit(ctx)
	check(t, err)
	raw, err := io.ReadAll(r)
	check(t, errors.Join(err, r.Close()))
	if onDisk, _ := os.ReadFile(filepath.Join(b.cfg.Dir, AuditFile)); !bytes.Equal(raw, onDisk) || len(raw) == 0 {
		t.Fatalf("got %d bytes of audit log, want %d", len(raw), len(onDisk))
	}
	for _, e := range b.auditLog() {
		if e.Actor != "tester" {
			t.Errorf("got actor %q in %+v", e.Actor, e)
		}
	}
}

func TestBadAdministrationIsExplained(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	rego := func(source string) []byte {
		raw, _ := json.Marshal(map[string]string{"policy": base64.RawURLEncoding.EncodeToString([]byte(source))})
		return raw
	}
	tests := map[string]struct{ path, body, kind, want string }{
		"policy line":      {"/attestation-policy", string(rego("package policy\n\nallow if nothing(1)")), kindPolicy, "policy attestation.rego: line 3, column 10: undefined function nothing"},
		"policy encoding":  {"/resource-policy", `{"policy":"?"}`, kindPolicy, "decode the policy"},
		"policy type":      {"/resource-policy", `{"type":"cel","policy":""}`, kindPolicy, `policy type "cel"`},
		"policy name":      {"/attestation-policy", `{"policy_id":"other_gpu","policy":""}`, kindPolicy, `policy "other_gpu"`},
		"policy body":      {"/attestation-policy", `[`, kindPolicy, "parse the request"},
		"reference type":   {"/reference-value", `{"type":"corim","payload":""}`, kindReference, `type "corim"`},
		"reference base64": {"/reference-value", `{"type":"holdfast","payload":"?"}`, kindReference, "decode the payload"},
		"reference values": {"/reference-value", `{"type":"holdfast","payload":"e30x"}`, kindReference, "reference values: "},
		"reference age":    {"/reference-value", `{"version":"9","type":"holdfast"}`, kindReference, `version "9"`},
		"digest":           {"/holdfast/configurations", `{"digest":"sha256:AB"}`, kindSerde, `digest "sha256:AB": expected`},
		"digest climbs":    {"/holdfast/configurations", `{"digest":"sha256:../../../../../../../../../../../../../../../../../../../../etc"}`, kindSerde, "expected sha256:"},
		"resource":         {"/holdfast/configurations", `{"digest":"` + initDataDigest + `","resources":["../a/b"]}`, kindSerde, `part ".."`},
		"empty value":      {"/resource/default/key/x", "", kindSerde, "the body is empty"},
		"large value":      {"/resource/default/key/x", strings.Repeat("x", maxResource+1), kindSerde, "larger than"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := b.machine()
			m.token = signed(t, jose.EdDSA, b.admin.Key, map[string]any{"role": "admin", "exp": b.now.Now().Unix() + 60})
			status, body := m.call("POST", "/kbs/v0"+test.path, []byte(test.body))
			if status != http.StatusRequestEntityTooLarge {
				wantProblem(t, status, body, http.StatusBadRequest, test.kind, "")
			}
			var p api.ErrorInformation
			if json.Unmarshal(body, &p) != nil || !strings.Contains(p.Detail, test.want) {
				t.Errorf("got %s, want %q", body, test.want)
			}
		})
	}
}

func TestReplacedPolicyHoldsAtOnce(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte("package policy\nallow := false\nreasons := {\"not on a Sunday\"}")))
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "not on a Sunday")
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte(policy.Resource)))
	if status, _ := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatal("the shipped policy does not hold again")
	}
	check(t, b.admin.SetAttestationPolicy(t.Context(), []byte("package policy\nallow := true")))
	m = b.machine()
	m.pcrs["pcr11"] = pcr("e")
	m.auth()
	m.attest()
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "the token affirms no machine")
}

func TestAdminTokensAreShortLived(t *testing.T) {
	b := newBench(t, nil)
	b.now.set(b.now.Now().Add(time.Hour))
	check(t, b.admin.SetResource(t.Context(), "a/b/c", []byte("x")))
	late := *b.admin
	then := b.now.Now().Add(-10 * time.Minute)
	late.Now = func() time.Time { return then }
	if err := late.SetResource(t.Context(), "a/b/c", []byte("x")); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Fatalf("got %v, want expired", err)
	}
}

func TestCreateNeverReplacesAResource(t *testing.T) {
	b := newBench(t, nil)
	const path = "default/key/one"
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			switch err := b.admin.CreateResource(t.Context(), path, bytes.Repeat([]byte{byte(i)}, 32)); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, admin.ErrExist):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("got %d that made it and %d that found it, want 1 and 7", won.Load(), lost.Load())
	}
}

// adminToken is one of the bench's administrator.
func (b *bench) adminToken() string {
	return signed(b.t, jose.EdDSA, b.admin.Key, map[string]any{"role": "admin", "exp": b.now.Now().Unix() + 60})
}
