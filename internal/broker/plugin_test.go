package broker

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// An echo is a plugin whose machines are told what they sent.
type echo struct {
	t    *testing.T
	keys []string // never leave it
}

func (echo) Name() string { return "pkcs11" }

func (echo) Access(method string, path []string) Access {
	switch {
	case method == http.MethodPost && path[0] == "unwrap-key":
		return Machines
	case method == http.MethodPost && path[0] == "wrap-key":
		return Administrators
	case method == http.MethodGet && path[0] == "public":
		return Anybody
	}
	return Nobody
}

func (e echo) Serve(_ context.Context, c Call) (Answer, error) {
	if string(c.Body) == "bad" {
		return Answer{}, PluginError(http.StatusBadRequest, errors.New("the packet is bad"))
	}
	if _, ok := c.Key.(*ecdsa.PublicKey); ok != (c.Path[0] == "unwrap-key") {
		e.t.Errorf("%v came with key %T", c.Path, c.Key)
	}
	return Answer{Body: append([]byte("opened "), c.Body...)}, nil
}

func (e echo) Keeps(_ context.Context, r Resource) (bool, error) {
	return slices.Contains(e.keys, string(r)), nil
}

func TestAPluginIsAskedUnderTheSameRulesAsAResource(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Plugins = []Plugin{echo{t: t, keys: []string{"default/key/absent"}}} })
	b.furnish()
	m := b.machine()
	status, body := m.call("POST", "/kbs/v0/pkcs11/unwrap-key/default/key/x", []byte("packet"))
	wantProblem(t, status, body, http.StatusUnauthorized, kindNoToken, "Attestation Token not found")
	m.auth()
	m.attest()

	status, body = m.call("POST", "/kbs/v0/pkcs11/unwrap-key/default/key/x", []byte("packet"))
	if status != http.StatusOK || m.open(body) != "opened packet" {
		t.Fatalf("got %d %s", status, body)
	}
	if e := b.lastEntry(); e.Action != "call-plugin" || e.Decision != api.AuditAllow || e.Resource != "pkcs11/unwrap-key/default/key/x" ||
		e.InitData != initDataDigest || e.Value == "" {
		t.Errorf("got audit entry %+v", e)
	}

	status, body = m.call("POST", "/kbs/v0/pkcs11/unwrap-key/default/key/other", []byte("packet"))
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "may not have resource")
	if !strings.Contains(string(body), "--resource default/key/other") {
		t.Errorf("%s does not say how to allow it", body)
	}
	if e := b.lastEntry(); e.Decision != api.AuditRefuse || e.Resource != "pkcs11/unwrap-key/default/key/other" {
		t.Errorf("got audit entry %+v", e)
	}
	status, body = m.call("POST", "/kbs/v0/pkcs11/unwrap-key/default/key/x", []byte("bad"))
	wantProblem(t, status, body, http.StatusBadRequest, kindInternal, "the packet is bad")
	status, body = m.call("POST", "/kbs/v0/pkcs11/unwrap-key/default/key/x", make([]byte, maxCall+1))
	wantProblem(t, status, body, http.StatusRequestEntityTooLarge, kindSerde, "larger than")
	status, body = m.call("POST", "/kbs/v0/pkcs11/unwrap-key/x/y", []byte("packet"))
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "")
}

func TestAPluginAnswersOnlyWhomItIsFor(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Plugins = []Plugin{echo{t: t}} })
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	status, body := m.call("POST", "/kbs/v0/pkcs11/wrap-key/default/key/x", []byte("key"))
	wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, "admin access denied")
	status, body = (&machine{b: b}).call("GET", "/kbs/v0/pkcs11/public", nil)
	if status != http.StatusOK || string(body) != "opened " {
		t.Errorf("got %d %q", status, body)
	}
	for _, path := range []string{"/kbs/v0/pkcs11/", "/kbs/v0/pkcs11/unwrap-key/..%2fx/y/z",
		"/kbs/v0/pkcs11/unwrap-key/a/b/c%00", "/kbs/v0/pkcs11/unwrap-key/a/b/.c", "/kbs/v0/nebula-ca/credential"} {
		status, body := m.call("POST", path, []byte("packet"))
		wantProblem(t, status, body, http.StatusNotFound, kindNotFound, "is not served here")
	}
	status, body = m.call("PUT", "/kbs/v0/pkcs11/unwrap-key/default/key/x", []byte("packet"))
	wantProblem(t, status, body, http.StatusNotFound, kindNotFound, "is not served here")
}

func TestAKeyThatIsKeptIsNotReleased(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Plugins = []Plugin{echo{t: t, keys: []string{"default/key/absent"}}} })
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	status, body := m.call("GET", "/kbs/v0/resource/default/key/absent", nil)
	wantProblem(t, status, body, http.StatusConflict, api.KindKept, "never leaves pkcs11")
	if err := b.admin.SetResource(t.Context(), "default/key/absent", []byte("x")); err == nil || !strings.Contains(err.Error(), "never leaves pkcs11") {
		t.Errorf("setting it: got %v", err)
	}
}
