package cosign

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// signed wants a signature by one of the recorded keys, with that identity.
func signed(t testing.TB, key, identity string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(recorded, key+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	text := `{"type": "sigstoreSigned", "keyData": "` + base64.StdEncoding.EncodeToString(raw) + `"`
	if identity != "" {
		text += `, "signedIdentity": ` + identity
	}
	return text + "}"
}

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text), nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func subject(t testing.TB, name, tag string) Subject {
	t.Helper()
	n, err := ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return Subject{Transport: Docker, Name: n, Digest: tagged(t, tag)}
}

func TestTheMostSpecificScopeDecides(t *testing.T) {
	p := parse(t, `{"default": [{"type": "reject"}], "transports": {"docker": {
		"": [{"type": "reject"}],
		"*.example.com": [{"type": "insecureAcceptAnything"}],
		"a.b.example.com:5000": [{"type": "reject"}],
		"a.b.example.com:5000/n": [{"type": "insecureAcceptAnything"}],
		"a.b.example.com:5000/n/r": [{"type": "reject"}],
		"a.b.example.com:5000/n/r:v1": [{"type": "insecureAcceptAnything"}]},
		"oci": {"/srv": [{"type": "insecureAcceptAnything"}], "/srv/x:v2": [{"type": "reject"}]}}}`)
	for name, want := range map[string]string{
		"a.b.example.com:5000/n/r:v1": "a.b.example.com:5000/n/r:v1", "a.b.example.com:5000/n/r:v2": "a.b.example.com:5000/n/r",
		"a.b.example.com:5000/n/r/s:v1": "a.b.example.com:5000/n/r", "a.b.example.com:5000/n/q": "a.b.example.com:5000/n",
		"a.b.example.com:5000/m:v1": "a.b.example.com:5000", "c.example.com/m:v1": "*.example.com", "c.d.example.com/m": "*.example.com", "c.example.com:5000/m": "*.example.com",
		"a.b.example.com/m": "*.example.com", "example.com/m:v1": "", "a.b.example.com:5000/nn/r": "a.b.example.com:5000",
	} {
		if _, transport, scope := p.For(subject(t, name, "v1")); scope != want || transport != Docker {
			t.Errorf("%s: got scope %q of %q, want %q", name, scope, transport, want)
		}
	}
	for path, want := range map[string]string{"/srv/x:v2": "/srv/x:v2", "/srv/x:v3": "/srv", "/srv": "/srv"} {
		if _, _, scope := p.For(Subject{Transport: Layout, Path: path}); scope != want {
			t.Errorf("%s: got scope %q, want %q", path, scope, want)
		}
	}
	for _, s := range []Subject{{Transport: Layout, Path: "/srvx:a"}, {Transport: "tarball", Path: "/srv"}} {
		if _, transport, scope := p.For(s); transport+scope != "" {
			t.Errorf("%s: got scope %q of %q, want the default", s, scope, transport)
		}
	}
}

func TestAnImageIsTakenOnlyIfAllIsFulfilled(t *testing.T) {
	const at = "127.0.0.1:5077/rec"
	const repository, own = `{"type": "matchRepository"}`, `{"type": "matchDigest"}`
	both := signed(t, "p256", own) + "," + signed(t, "rsa", own)
	for _, c := range []struct{ name, tag, wanted, refusal string }{
		{at + ":v2", "v2", signed(t, "p256", repository), ""},
		{at + ":v1", "v1", signed(t, "ed25519", own), ""},
		{at + ":v1", "v1", both, ""},
		{at + ":v2", "v2", both, ""},
		{"other.example/x:v2", "v2", signed(t, "p256", `{"type": "exactRepository", "dockerRepository": "`+at+`"}`), ""},
		{"mirror.example/a/rec:v2", "v2", signed(t, "p256", `{"type": "exactRepository", "dockerRepository": "mirror.example/a/rec"}`), "it is of the name 127.0.0.1:5077/rec"},
		{"other.example/x:v2", "v2", signed(t, "p256", repository), "it is of the name 127.0.0.1:5077/rec, and matchRepository wants another"},
		{at + ":v2", "v2", signed(t, "p256", ""), "it is of the name 127.0.0.1:5077/rec, and matchRepoDigestOrExact wants another"},
		{at + ":v1", "v1", signed(t, "p256", repository), "it gives the image no name"},
		{at + ":v1", "v1", both + `, {"type": "reject"}`, "the default of docker rejects " + at + ":v1"},
		{at + ":v1", "v1", `{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}`, "OpenPGP"},
	} {
		p := parse(t, `{"default": [{"type": "reject"}], "transports": {"docker": {"": [`+c.wanted+`]}}}`)
		d, err := p.Decide(t.Context(), subject(t, c.name, c.tag), layout{recorded})
		if err != nil {
			t.Fatal(err)
		}
		switch err := d.Err(); {
		case c.refusal == "" && err != nil:
			t.Errorf("%s by %.60s: refused: %v", c.name, c.wanted, err)
		case c.refusal != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.refusal)):
			t.Errorf("%s by %.60s: got %v, want %q", c.name, c.wanted, err, c.refusal)
		}
	}
}

func TestIdentitiesAreComparedAsTheirTypeSays(t *testing.T) {
	exact, repo, digest := Identity{Type: matchExact}, Identity{Type: matchRepository}, Identity{Type: matchDigest}
	remapped := Identity{Type: remapIdentity, Prefix: "m.example:5000/v", SignedPrefix: "v.example"}
	const sum = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct {
		by            *Identity
		image, signed string
		good          bool
	}{
		{nil, "h/r:1", "h/r:1", true}, {nil, "h/r:1", "h/r:2", false}, {nil, "h/r:1", "h/r", false},
		{nil, "h/r" + sum, "h/r:2", true}, {nil, "h/r" + sum, "h/r", false}, {nil, "h/r" + sum, "h/s:2", false},
		{nil, "h/r:1" + sum, "h/r:2", true}, {nil, "h/r", "h/r:1", false}, {nil, "h/r:1", "", false}, {nil, "h/r:1", "r:1", false},
		{&exact, "h/r:1", "h/r:1", true}, {&exact, "h/r" + sum, "h/r:1", false}, {&exact, "h/r", "h/r", false},
		{&repo, "h/r:1", "h/r", true}, {&repo, "h/r:1", "h/r:2", true}, {&repo, "h/r:1", "h/r/s:1", false},
		{&digest, "h/r:1", "", true}, {&digest, "h/r:1", "x/y", true},
		{&remapped, "m.example:5000/v/a:1", "v.example/a:1", true}, {&remapped, "m.example:5000/vv/a:1", "v.examplev/a:1", false},
		{&remapped, "h/r:1", "h/r:1", true}, {&remapped, "m.example:5000/v/a:1", "m.example:5000/v/a:1", false},
		{nil, "docker.io/library/redis:7", "index.docker.io/library/redis:7", true},
	} {
		n, err := ParseName(c.image)
		if err != nil {
			t.Fatal(err)
		}
		err = c.by.match(Subject{Transport: Docker, Name: n}, c.signed)
		if (err == nil) != c.good {
			t.Errorf("%v: %s signed as %q: got %v", c.by, c.image, c.signed, err)
		}
	}
	if err := repo.match(Subject{Transport: Layout, Path: "/a"}, "h/r:1"); err == nil {
		t.Error("an image in a folder has the repository of a name")
	}
}

func TestWhatAPolicyDoesNotMeanIsRefused(t *testing.T) {
	key := signed(t, "p256", "")
	for text, want := range map[string]string{
		``:                                  "it is cut off",
		`[]`:                                "want a JSON object",
		`{}`:                                `"default" is missing`,
		`{"default": []}`:                   "one requirement at least",
		`{"default": null}`:                 "one requirement at least",
		`{"Default": [{"type": "reject"}]}`: `field "Default": not known`,
		`{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}`:                "is there twice",
		`{"default": [{"type": "reject"}]} {}`:                                                              "something follows",
		`{"default": [{"type": "reject"}`:                                                                   "field \"default\"",
		`{"default": [{"type": "rejects"}]}`:                                                                `type "rejects": want`,
		`{"default": [{"type": "reject", "keyPath": "/k"}]}`:                                                "takes no other field",
		`{"default": [{"type": "sigstoreSigned"}]}`:                                                         "exactly one of keyPath",
		`{"default": [{"type": "sigstoreSigned", "keyPath": "/k"}]}`:                                        "want keyData",
		`{"default": [{"type": "sigstoreSigned", "keyData": "AAAA"}]}`:                                      "want PEM blocks",
		`{"default": [{"type": "sigstoreSigned", "keyData": null}]}`:                                        "is null",
		`{"default": [{"type": "sigstoreSigned", "keyDatas": []}]}`:                                         "one key at least",
		`{"default": [` + strings.Replace(key, "}", `, "keyPath": "/k"}`, 1) + `]}`:                         "exactly one of keyPath",
		`{"default": [` + strings.Replace(key, "}", `, "rekorPublicKeyPath": "/k"}`, 1) + `]}`:              "transparency logs are not judged",
		`{"default": [` + strings.Replace(key, "}", `, "fulcio": {}}`, 1) + `]}`:                            "certificates",
		`{"default": [` + signed(t, "p256", `{"type": "matchAny"}`) + `]}`:                                  `type "matchAny": not known`,
		`{"default": [` + signed(t, "p256", `{"type": "exactReference"}`) + `]}`:                            "dockerReference",
		`{"default": [` + signed(t, "p256", `{"type": "matchExact", "prefix": "h"}`) + `]}`:                 "no such field",
		`{"default": [{"type": "reject"}], "transports": {"docker": {"h/R": [{"type": "reject"}]}}}`:        `field "h/R"`,
		`{"default": [{"type": "reject"}], "transports": {"docker": {"*.*.com": [{"type": "reject"}]}}}`:    "want *.DOMAIN",
		`{"default": [{"type": "reject"}], "transports": {"oci": {"srv": [{"type": "reject"}]}}}`:           "absolute path",
		`{"default": [{"type": "reject"}], "transports": {"docker": {"h": [{"type": "reject"}], "h": []}}}`: "is there twice",
	} {
		if _, err := ParsePolicy([]byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestAPolicyCarriesItsKeys(t *testing.T) {
	text := `{"default": [{"type": "sigstoreSigned", "keyPaths": ["/k/p256.pub", "/k/rsa.pub"], "signedIdentity": {"type": "matchRepository"}}]}`
	p, err := ParsePolicy([]byte(text), func(path string) ([]byte, error) {
		return os.ReadFile(filepath.Join(recorded, filepath.Base(path)))
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := parse(t, string(raw)).Decide(t.Context(), subject(t, "127.0.0.1:5077/rec:v2", "v2"), layout{recorded})
	if err != nil || !d.Allowed {
		t.Errorf("as it is marshalled: got %+v, %v", d, err)
	}
}

func TestOnlyAFullNameIsOne(t *testing.T) {
	for s, good := range map[string]bool{
		"h/r": true, "h:5000/r:t": true, "h.example/a/b_c:T.1": true, "[::1]:5000/r": true,
		"h/r@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": true,
		"": false, "r": false, "h/": false, "/r": false, "h/R": false, "h/r:": false, "h/r:t@": false, "h/../r": false, "h//r": false,
		"h/r@sha256:00": false, "h/r:t:u": false, "h /r": false, "h/r\n": false, "h/r/": false,
	} {
		if n, err := ParseName(s); (err == nil) != good || good && n.String() != s {
			t.Errorf("%q: got %q, %v", s, n, err)
		}
	}
}
