package broker

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cosign"
	"holdfast/internal/rebuilt"
	"holdfast/internal/sign"
)

var (
	rebuiltUKI  = strings.Repeat("a", 64)
	rebuiltRoot = strings.Repeat("1", 64)
)

// aRebuild is a statement about the guest, changed by edit.
func aRebuild(t testing.TB, key crypto.Signer, edit func(*rebuilt.Rebuild)) []byte {
	t.Helper()
	r := rebuilt.Rebuild{
		Format: "machine", RootHash: rebuiltRoot, Version: map[string]string{"go": "go1.25"},
		Subjects: []sign.Subject{{Name: "uki.efi", Digest: map[string]string{"sha256": rebuiltUKI}}},
		Inputs:   []rebuilt.Resource{{Name: "lock", Digest: map[string]string{"sha256": pcr("c")}}},
	}
	if edit != nil {
		edit(&r)
	}
	raw, err := rebuilt.Sign(r, key)
	check(t, err)
	return raw
}

func publicPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	public, err := cosign.NewKey(key.Public())
	check(t, err)
	return public.PEM()
}

// guild is a broker that wants two of three to have rebuilt its guest.
type guild struct {
	*bench
	keys map[string]crypto.Signer
}

func newGuild(t testing.TB) *guild {
	t.Helper()
	g := &guild{bench: newBench(t, nil), keys: map[string]crypto.Signer{}}
	g.furnish()
	values := guestValues
	values.UKI, values.RootHash = "sha256:"+rebuiltUKI, rebuiltRoot
	g.trustOnly(values)
	for _, name := range []string{"alice", "bob", "carol"} {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		g.keys[name] = private
		check(t, g.admin.AddRebuilder(t.Context(), name, publicPEM(t, private)))
	}
	check(t, g.admin.Require(t.Context(), twoOf("alice", "bob", "carol")))
	return g
}

func twoOf(names ...string) api.Requirements {
	return api.Requirements{Rebuilders: &api.RebuildersRequired{Of: names, AtLeast: 2}}
}

func (g *guild) trustOnly(values api.ReferenceValues) {
	g.t.Helper()
	images, err := g.admin.Images(g.t.Context())
	check(g.t, err)
	for _, i := range images {
		check(g.t, g.admin.Distrust(g.t.Context(), i.ID))
	}
	envelope, err := json.Marshal(values)
	check(g.t, err)
	check(g.t, g.admin.Trust(g.t.Context(), envelope))
}

func (g *guild) load(raw []byte) error { return g.admin.LoadRebuild(g.t.Context(), raw) }

// answer is what a fresh machine is told.
func (g *guild) answer() (status int, body []byte) {
	m := g.machine()
	m.auth()
	return m.call("POST", "/kbs/v0/attest", m.attestation())
}

func (g *guild) wantCount(n int) {
	g.t.Helper()
	status, body := g.answer()
	if n >= 2 {
		if status != http.StatusOK {
			g.t.Errorf("rebuilt by %d: got %d %s", n, status, body)
		}
		return
	}
	told := fmt.Sprintf("image guest (sha256:%s) was rebuilt by %d of alice, bob, carol; 2 are required", rebuiltUKI, n)
	wantProblem(g.t, status, body, http.StatusUnauthorized, kindAttestation, told)
}

func TestImageIsTrustedWhenEnoughHaveRebuiltIt(t *testing.T) {
	g := newGuild(t)
	g.wantCount(0)
	check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
	g.wantCount(1)
	check(t, g.load(aRebuild(t, g.keys["carol"], nil)))
	g.wantCount(2)
	m := g.attested()

	// A token that is out counts for no more than the statements do now.
	check(t, g.admin.RemoveRebuilder(t.Context(), "carol"))
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "was rebuilt by 1 of alice, bob, carol; 2 are required")
	g.wantCount(1)
	check(t, g.admin.AddRebuilder(t.Context(), "carol", publicPEM(t, g.keys["carol"])))
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Errorf("the key is known again: got %d %s", status, body)
	}
	list, err := g.admin.Rebuilds(t.Context())
	if check(t, err); len(list) != 2 || list[0].UKI != "sha256:"+rebuiltUKI || len(list[0].By) != 1 || list[0].Lock != "sha256:"+pcr("c") {
		t.Fatalf("got %+v", list)
	}
	check(t, g.admin.ForgetRebuild(t.Context(), list[0].ID))
	g.wantCount(1)
	check(t, g.admin.Require(t.Context(), api.Requirements{}))
	if status, body := g.answer(); status != http.StatusOK {
		t.Errorf("nothing is required any more: got %d %s", status, body)
	}
}

func TestStatementThatDoesNotCount(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	tests := map[string]struct {
		raw     func(g *guild) []byte
		refused string // when it is loaded; empty: it is, and counts for nothing
	}{
		"another kernel image": {func(g *guild) []byte {
			return aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.Subjects[0].Digest["sha256"] = pcr("d") })
		}, ""},
		"another root": {func(g *guild) []byte {
			return aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.RootHash = pcr("d") })
		}, ""},
		"the digest of another part": {func(g *guild) []byte {
			return aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.Subjects[0].Name = "disk.img" })
		}, ""},
		"no root": {func(g *guild) []byte {
			return aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.RootHash = "" })
		}, ""},
		"said twice by one": {func(g *guild) []byte {
			return aRebuild(t, g.keys["alice"], func(r *rebuilt.Rebuild) { r.Version["go"] = "go1.26" })
		}, ""},
		"unknown key": {func(*guild) []byte { return aRebuild(t, stranger, nil) }, "no key of a rebuilder known here signed it"},
		"another's key ID": {func(g *guild) []byte {
			var e map[string]any
			check(t, json.Unmarshal(aRebuild(t, stranger, nil), &e))
			public, err := cosign.NewKey(g.keys["bob"].Public())
			check(t, err)
			e["signatures"].([]any)[0].(map[string]any)["keyid"] = public.ID()
			raw, err := json.Marshal(e)
			check(t, err)
			return raw
		}, "no key of a rebuilder known here signed it"},
		"altered": {func(g *guild) []byte {
			var e sign.Envelope
			check(t, json.Unmarshal(aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.RootHash = pcr("d") }), &e))
			e.Payload = bytes.Replace(e.Payload, []byte(pcr("d")), []byte(rebuiltRoot), 1)
			raw, err := json.Marshal(e)
			check(t, err)
			return raw
		}, "no key of a rebuilder known here signed it"},
		"unsigned": {func(g *guild) []byte {
			return bytes.Replace(aRebuild(t, g.keys["bob"], nil), []byte(`"signatures":[`), []byte(`"signatures":[],"x":[`), 1)
		}, "unknown field"},
		"expired": {func(g *guild) []byte {
			at := g.now.Now().Add(-time.Second)
			return aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.Until = &at })
		}, "it was good until"},
		"a first build's provenance": {func(g *guild) []byte {
			return resigned(t, g.keys["bob"], func(s string) string { return strings.Replace(s, rebuilt.BuildType, "urn:holdfast:build:image:v1", 1) })
		}, "statement is of a build of type"},
		"another predicate": {func(g *guild) []byte {
			return resigned(t, g.keys["bob"], func(s string) string { return strings.Replace(s, rebuilt.PredicateType, api.ReferenceType, 1) })
		}, "statement is of type"},
		"another payload type": {func(g *guild) []byte {
			return bytes.Replace(aRebuild(t, g.keys["bob"], nil), []byte(sign.PayloadType), []byte("application/json"), 1)
		}, "payload type"},
		"a container image": {func(g *guild) []byte {
			return aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.Format = "oci" })
		}, "want machine"},
		"nothing": {func(*guild) []byte { return nil }, "no DSSE envelope"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGuild(t)
			check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
			err := g.load(test.raw(g))
			if test.refused == "" && err != nil || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("got %v, want %q", err, test.refused)
			}
			g.wantCount(1)
		})
	}
}

// resigned is a statement that edit changed before it was signed.
func resigned(t testing.TB, key crypto.Signer, edit func(string) string) []byte {
	t.Helper()
	var e sign.Envelope
	check(t, json.Unmarshal(aRebuild(t, key, nil), &e))
	e.Payload = []byte(edit(string(e.Payload)))
	sig, err := cosign.SignMessage(key, sign.PreAuthEncoding(e.PayloadType, e.Payload))
	check(t, err)
	e.Signatures[0].Sig = sig
	raw, err := json.Marshal(e)
	check(t, err)
	return raw
}

func TestRebuildCountsUntilItExpires(t *testing.T) {
	g := newGuild(t)
	at := g.now.Now().Add(time.Minute)
	check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
	check(t, g.load(aRebuild(t, g.keys["bob"], func(r *rebuilt.Rebuild) { r.Until = &at })))
	g.wantCount(2)
	m := g.attested()
	g.now.set(at)
	g.wantCount(1)
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "was rebuilt by 1 of alice, bob, carol; 2 are required")
}

// Two names of one key, which no verb makes: the state has them, as an older
// version of it might.
func TestOneKeyCountsOnceWhateverItsNames(t *testing.T) {
	g := newGuild(t)
	pem := publicPEM(t, g.keys["alice"])
	if err := g.admin.AddRebuilder(t.Context(), "dave", pem); err == nil || !strings.Contains(err.Error(), "the key is that of alice") {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := g.admin.AddRebuilder(t.Context(), "bob", pem); err == nil || !strings.Contains(err.Error(), "bob has another key") {
		t.Errorf("got %v, want a refusal", err)
	}
	check(t, g.set(context.Background(), api.Version{Kind: api.RebuilderKind, Name: "bob", Actor: "tester", Content: pem}))
	check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
	g.wantCount(1)
}

// One envelope may have several signatures, by keys of every kind.
func TestKeysOfEveryKindCount(t *testing.T) {
	g := newGuild(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	check(t, g.admin.RemoveRebuilder(t.Context(), "bob"))
	check(t, g.admin.AddRebuilder(t.Context(), "bob", publicPEM(t, key)))
	var e sign.Envelope
	check(t, json.Unmarshal(aRebuild(t, g.keys["alice"], nil), &e))
	sig, err := cosign.SignMessage(key, sign.PreAuthEncoding(e.PayloadType, e.Payload))
	check(t, err)
	e.Signatures = append(e.Signatures, sign.Signature{Sig: sig})
	raw, err := json.Marshal(e)
	check(t, err)
	check(t, g.load(raw))
	g.wantCount(2)
}

func TestRequirementThatNobodyCanFulfilIsRefused(t *testing.T) {
	g := newGuild(t)
	for name, r := range map[string]api.RebuildersRequired{
		"none":    {Of: []string{"alice"}, AtLeast: 0},
		"more":    {Of: []string{"alice", "alice"}, AtLeast: 2},
		"unknown": {Of: []string{"alice", "mallory"}, AtLeast: 1},
		"nobody":  {AtLeast: 1},
	} {
		if err := g.admin.Require(t.Context(), api.Requirements{Rebuilders: &r}); err == nil {
			t.Errorf("%s: %+v was accepted", name, r)
		}
	}
	g.wantCount(0)
}

// What is kept was altered on disk: it counts for nothing, or nothing is
// decided.
func TestAlteredStateOfRebuildsDenies(t *testing.T) {
	g := newGuild(t)
	check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
	check(t, g.load(aRebuild(t, g.keys["bob"], nil)))
	g.wantCount(2)
	check(t, g.set(context.Background(), api.Version{Kind: api.RebuilderKind, Name: "bob", Content: []byte("no key")}))
	g.wantCount(1)
	check(t, g.set(context.Background(), api.Version{Kind: api.RebuildKind, Name: "sha256:" + pcr("e"), Content: aRebuild(t, g.keys["carol"], nil)}))
	g.wantCount(1)
	for _, content := range []string{`{"rebuilders":{"of":["alice"],"at_least":0}}`, `{"rebuilders":7}`, ` `} {
		check(t, g.set(context.Background(), api.Version{Kind: api.RequirementKind, Name: api.RequirementsName, Content: []byte(content)}))
		if status, body := g.answer(); status == http.StatusOK {
			t.Errorf("requirement %s: %d %s", content, status, body)
		}
	}
}

// Whatever is loaded besides, a statement never takes one away, and one that
// is forgotten never adds one.
func TestStatementsNeverLowerAndForgettingNeverRaises(t *testing.T) {
	g := newGuild(t)
	names := []string{"alice", "bob", "carol"}
	random := mathrand.New(mathrand.NewPCG(5, 9))
	count := func() int {
		rules, err := g.rules(t.Context())
		check(t, err)
		keys := map[string]bool{}
		for _, who := range rules.images[pcr("b")].RebuiltBy {
			keys[who.Key] = true
		}
		return len(keys)
	}
	kept := map[string]bool{}
	for step := range 200 {
		before := count()
		if random.IntN(3) > 0 || len(kept) == 0 {
			raw := aRebuild(t, g.keys[names[random.IntN(3)]], func(r *rebuilt.Rebuild) {
				r.Version["n"] = fmt.Sprint(random.IntN(4))
				if random.IntN(2) == 0 {
					r.RootHash = pcr("d")
				}
			})
			check(t, g.load(raw))
			kept[digestOf(raw)] = true
			if after := count(); after < before {
				t.Fatalf("step %d: a statement lowered the count from %d to %d", step, before, after)
			}
			continue
		}
		for id := range kept {
			check(t, g.admin.ForgetRebuild(t.Context(), id))
			delete(kept, id)
			break
		}
		if after := count(); after > before {
			t.Fatalf("step %d: forgetting raised the count from %d to %d", step, before, after)
		}
	}
}

// Two images that evidence cannot tell apart are each asked for.
func TestImagesWithOneMeasurementMustBothBeRebuilt(t *testing.T) {
	g := newGuild(t)
	check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
	check(t, g.load(aRebuild(t, g.keys["bob"], nil)))
	g.wantCount(2)
	other := guestValues
	other.UKI, other.RootHash = "sha256:"+pcr("e"), rebuiltRoot
	envelope, err := json.Marshal(other)
	check(t, err)
	check(t, g.admin.Trust(t.Context(), envelope))
	if status, body := g.answer(); status == http.StatusOK {
		t.Errorf("got %d %s, want a refusal: the other was rebuilt by nobody", status, body)
	}
}

func TestNobodyElseSaysWhoRebuilds(t *testing.T) {
	g := newGuild(t)
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + ".e30."
	for _, path := range []string{api.RebuildersPath, api.RebuildsPath, api.RequirementsPath} {
		for _, method := range []string{"GET", "POST"} {
			r, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader(`{}`))
			check(t, err)
			r.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(r)
			check(t, err)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s: got %d", method, path, resp.StatusCode)
			}
		}
	}
}

// A rollback of one name can bring its key back after another was given it.
func TestAKeyWithTwoNamesCountsOnce(t *testing.T) {
	g := newGuild(t)
	check(t, g.load(aRebuild(t, g.keys["alice"], nil)))
	g.wantCount(1)
	_, err := g.state.SetDocument(t.Context(), api.Version{Kind: api.RebuilderKind, Name: "bob", Content: publicPEM(t, g.keys["alice"])})
	check(t, err)
	g.wantCount(1)
	check(t, g.load(aRebuild(t, g.keys["carol"], nil)))
	g.wantCount(2)
}
