package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"testing"
	"time"
)

// remembering asks through a memory, and tells whether it knew the answer.
func remembering(t *testing.T, m *Memory, p *Policy, input map[string]any) (d Decision, known bool) {
	t.Helper()
	return rememberingAbout(t, m, p, input, nil)
}

func rememberingAbout(t *testing.T, m *Memory, p *Policy, input, about map[string]any) (d Decision, known bool) {
	t.Helper()
	before := m.of(p).kept
	d, _, err := m.Ask(t.Context(), p, input, about)
	if err != nil {
		return d, false
	}
	return d, d.Allow && m.of(p).vain == 0 && m.of(p).kept == before
}

func data(t *testing.T, values map[string]any) *Data {
	t.Helper()
	d, err := NewData(values)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func handshake(nonce string, time int64) map[string]any {
	input := machine(func(claims, _ map[string]any) { claims["report_data"], claims["activated"] = nonce, true })
	input["time"] = time
	return input
}

func TestAnotherNonceAndSecondNeedNoOtherAnswer(t *testing.T) {
	p := compile(t, Attestation)
	m := Remember(data(t, trusted(boot(true, pcr("4"), pcr("7")))))
	first, known := remembering(t, m, p, handshake("aa", 1))
	if !first.Allow || known {
		t.Fatalf("the first: %v, known: %t", first, known)
	}
	again, known := remembering(t, m, p, handshake("bb", 2))
	if !reflect.DeepEqual(again, first) || !known {
		t.Errorf("got %v, known: %t", again, known)
	}
	if _, known = remembering(t, m, compile(t, Attestation), handshake("bb", 2)); known {
		t.Error("the answer is another policy's")
	}
}

// What a memory says is what the policy says, of whatever input.
func TestAMemoryNeverSaysAnythingElse(t *testing.T) {
	p := compile(t, Attestation)
	values := trusted(boot(true, pcr("4"), pcr("7")), boot(false, pcr("5"), pcr("7")))
	m := Remember(data(t, values))
	base := asked{Input: handshake("aa", 1), Data: values}
	if d, _ := remembering(t, m, p, base.copied(t).Input.(map[string]any)); !d.Allow {
		t.Fatal(d)
	}
	everyChange(t, base, func(what string, changed asked) {
		input, ok := changed.Input.(map[string]any)
		if !ok || !reflect.DeepEqual(changed.Data, base.copied(t).Data) {
			return
		}
		want, err := p.Ask(t.Context(), input, m.data)
		got, _, gotErr := m.Ask(t.Context(), p, input, nil)
		if !reflect.DeepEqual(got, want) || (err == nil) != (gotErr == nil) {
			t.Errorf("%s: got %v (%v), want %v (%v)", what, got, gotErr, want, err)
		}
	})
}

// Each policy looks at the nonce, or at what is absent, in another way. None is
// answered from memory where the answer is another.
func TestNoWayOfLookingIsMissed(t *testing.T) {
	nonce := func(n string) map[string]any { return handshake(n, 1) }
	with := func(name string) func(string) map[string]any {
		return func(n string) map[string]any {
			input := handshake("aa", 1)
			if n == "bb" {
				input["claims"].(map[string]any)[name] = "there"
			}
			return input
		}
	}
	for rule, input := range map[string]func(string) map[string]any{
		`input.claims.report_data == "aa"`:                                      nonce,
		`input.tpm.report_data == "aa"`:                                         nonce,
		`input.report_data == "aa"`:                                             nonce,
		`some v in input.claims; v == "aa"`:                                     nonce,
		`input.claims[sprintf("%s_data", ["report"])] == "aa"`:                  nonce,
		`object.get(input.claims, ["report_data"], "") == "aa"`:                 nonce,
		`object.get(input, ["claims", "report_data"], "") == "aa"`:              nonce,
		`contains(json.marshal(input), "\"aa\"")`:                               nonce,
		`contains(json.marshal(input.claims), "\"aa\"")`:                        nonce,
		`contains(yaml.marshal(input.claims), " aa")`:                           nonce,
		`contains(sprintf("%v", [input]), "\"aa\"")`:                            nonce,
		`walk(input, [_, "aa"])`:                                                nonce,
		`c := input.claims; c.report_data == "aa"`:                              nonce,
		`object.union(input, {"x": 1}).claims.report_data == "aa"`:              nonce,
		`"aa" in {v | v := input[_].report_data}`:                               nonce,
		`json.filter(input, ["claims/report_data"]).claims.report_data == "aa"`: nonce,
		`strings.render_template("{{.report_data}}", input.claims) == "aa"`:     nonce,
		`input.claims == object.union(input.claims, {"report_data": "aa"})`:     nonce,
		`not input.claims.more`:                                                 with("more"),
		`count(input.claims) == count(object.remove(input.claims, ["more"]))`:   with("more"),
		`not "more" in object.keys(input.claims)`:                               with("more"),
		`object.get(input.claims, "more", "none") == "none"`:                    with("more"),
	} {
		p := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if { "+rule+" }")
		m := Remember(data(t, map[string]any{"a": 1}))
		if d, known := remembering(t, m, p, input("aa")); !d.Allow || known {
			t.Errorf("%s: the first: %v, known: %t", rule, d, known)
		}
		if d, known := remembering(t, m, p, input("bb")); d.Allow || known {
			t.Errorf("%s: another: %v, known: %t", rule, d, known)
		}
		if d, _ := remembering(t, m, p, input("aa")); !d.Allow {
			t.Errorf("%s: the first again: %v", rule, d)
		}
	}
}

func resource(path ...string) map[string]any {
	return map[string]any{"plugin": "resource", "resource-path": path, "query": map[string]string{}}
}

// session is a token as it is read, of a session of its own.
func session(t *testing.T, id string, expires int) map[string]any {
	t.Helper()
	claims := token("affirming", configuration)
	cpu := claims["submods"].(map[string]any)["cpu0"].(map[string]any)
	cpu["ear.veraison.annotated-evidence"].(map[string]any)["tpm"] = machine(nil)["claims"]
	claims["jti"], claims["exp"] = id, expires
	return asked{Input: claims}.copied(t).Input.(map[string]any)
}

func TestAnotherSessionThatMayHaveAResourceNeedsNoOtherAnswer(t *testing.T) {
	p := compile(t, Resource)
	values := trusted(boot(true, pcr("4"), pcr("7")))
	m := Remember(data(t, values))
	x := resource("default", "key", "x")
	first, known := rememberingAbout(t, m, p, session(t, "1", 1000), x)
	if !first.Allow || known {
		t.Fatalf("the first: %+v, known: %t", first, known)
	}
	if again, known := rememberingAbout(t, m, p, session(t, "2", 2000), resource("default", "key", "x")); !reflect.DeepEqual(again, first) || !known {
		t.Errorf("got %+v, known: %t", again, known)
	}
	for what, about := range map[string]map[string]any{
		"another resource": resource("default", "key", "y"), "another plugin": {"plugin": "ca", "resource-path": []string{"default", "key", "x"}, "query": map[string]string{}},
	} {
		if d, known := rememberingAbout(t, m, p, session(t, "1", 1000), about); d.Allow || known {
			t.Errorf("%s: got %+v, known: %t", what, d, known)
		}
	}
	query := maps.Clone(x)
	query["query"] = map[string]string{"a": "b"}
	if d, known := rememberingAbout(t, m, p, session(t, "1", 1000), query); !d.Allow || known {
		t.Errorf("another query: got %+v, known: %t, want it asked", d, known)
	}
	if d, known := rememberingAbout(t, m, p, session(t, "1", 1000), nil); d.Allow || known {
		t.Errorf("nothing: got %+v, known: %t", d, known)
	}
	// It says what the policy says, of whatever token.
	base := asked{Input: session(t, "1", 1000), Data: values}
	full, err := m.data.With(x)
	if err != nil {
		t.Fatal(err)
	}
	everyChange(t, base, func(what string, changed asked) {
		input, ok := changed.Input.(map[string]any)
		if !ok || !reflect.DeepEqual(changed.Data, base.copied(t).Data) {
			return
		}
		want, err := p.Ask(t.Context(), input, full)
		got, data, gotErr := m.Ask(t.Context(), p, input, x)
		if !reflect.DeepEqual(got, want) || (err == nil) != (gotErr == nil) {
			t.Errorf("%s: got %v (%v), want %v (%v)", what, got, gotErr, want, err)
		}
		if !data.Enough(full) {
			t.Errorf("%s: the data is not what it was asked over", what)
		}
	})
}

// Of each resource a policy may look at what it is about, or at numbers and
// lists of the token.
func TestNoWayOfLookingAtARequestIsMissed(t *testing.T) {
	asks := func(claims, about map[string]any) func() (map[string]any, map[string]any) {
		return func() (map[string]any, map[string]any) {
			input, beside := session(t, "1", 1000), resource("default", "key", "x")
			maps.Copy(input, asked{Data: claims}.copied(t).Data)
			maps.Copy(beside, about)
			return input, beside
		}
	}
	list := func(values ...any) map[string]any { return map[string]any{"list": values} }
	for rule, test := range map[string]struct {
		good, other func() (map[string]any, map[string]any)
	}{
		`data.plugin == "resource"`:                              {asks(nil, nil), asks(nil, map[string]any{"plugin": "ca"})},
		`data["resource-path"][2] == "x"`:                        {asks(nil, nil), asks(nil, resource("default", "key", "y"))},
		`contains(json.marshal(data["resource-path"]), "\"x\"")`: {asks(nil, nil), asks(nil, resource("default", "key", "y"))},
		`not data.query.a`:                                       {asks(nil, nil), asks(nil, map[string]any{"query": map[string]string{"a": "b"}})},
		`input.exp < 2000`:                                       {asks(nil, nil), asks(map[string]any{"exp": 3000}, nil)},
		`input.exp == 1000`:                                      {asks(nil, nil), asks(map[string]any{"exp": 1000.5}, nil)},
		`input.list[0] == 1`:                                     {asks(list(1, 2), nil), asks(list(2, 2), nil)},
		`count(input.list) == 1`:                                 {asks(list(1), nil), asks(list(1, 1), nil)},
		`some v in input.list; v.a == "b"`:                       {asks(list(map[string]any{"a": "b"}), nil), asks(list(map[string]any{"a": "c"}), nil)},
		`walk(input, [_, 1000])`:                                 {asks(nil, nil), asks(map[string]any{"exp": 1}, nil)},
		`not input.submods.gpu0`:                                 {asks(nil, nil), asks(map[string]any{"submods": map[string]any{"cpu0": 1, "gpu0": 1}}, nil)},
		`object.get(data.query, "", "none") == "none"`:           {asks(nil, nil), asks(nil, map[string]any{"query": map[string]string{"": ""}})},
		`data.query == {} with data.plugin as "resource"`:        {asks(nil, nil), asks(nil, map[string]any{"query": map[string]string{"": ""}})},
	} {
		p := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if { "+rule+" }")
		m := Remember(data(t, map[string]any{"a": 1}))
		ask := func(question func() (map[string]any, map[string]any)) (Decision, bool) {
			input, about := question()
			return rememberingAbout(t, m, p, input, about)
		}
		if d, known := ask(test.good); !d.Allow || known {
			t.Errorf("%s: the first: %v, known: %t", rule, d, known)
		}
		if d, known := ask(test.other); d.Allow || known {
			t.Errorf("%s: another: %v, known: %t", rule, d, known)
		}
		if d, known := ask(test.good); !d.Allow || !known {
			t.Errorf("%s: the first again: %v, known: %t", rule, d, known)
		}
	}
}

func TestPathsThatCouldBeMistakenAreNotRemembered(t *testing.T) {
	p := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if input.claims[\"a\\u0000b\"] == \"yes\"\nallow if base64.encode(input.claims.c) == \"/w==\"")
	m := Remember(data(t, nil))
	ask := func(edit map[string]any) bool {
		input := handshake("aa", 1)
		maps.Copy(input["claims"].(map[string]any), edit)
		d, _ := remembering(t, m, p, input)
		return d.Allow
	}
	inner := map[string]any{"b": "x"}
	if !ask(map[string]any{"a\x00b": "yes", "a": inner}) || ask(map[string]any{"a\x00b": "no", "a": inner}) {
		t.Error("a name with a separator was taken for a path")
	}
	if !ask(map[string]any{"c": "\xff"}) || ask(map[string]any{"c": "\xfe"}) {
		t.Error("two texts that are not UTF-8 were taken for one")
	}
}

func TestAMemoryIsBounded(t *testing.T) {
	p := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if startswith(input.claims.report_data, \"a\")")
	m := Remember(data(t, trusted(boot(true, pcr("4"), pcr("7")))))
	for i := range 2 * patience {
		if d, known := remembering(t, m, p, handshake(fmt.Sprint("a", i), 1)); !d.Allow || known {
			t.Fatalf("%d: %v, known: %t", i, d, known)
		}
	}
	if kept := m.of(p).kept; kept >= patience {
		t.Errorf("%d answers are kept of a policy that looks at the nonce: want fewer than %d", kept, patience)
	}
	// It makes nobody forget another policy, and nobody lose patience with that.
	other := compile(t, Attestation)
	remembering(t, m, other, handshake("a", 1))
	for i := range 2 * patience {
		remembering(t, m, p, handshake(fmt.Sprint("ab", i), 1))
	}
	if d, known := remembering(t, m, other, handshake("b", 2)); !d.Allow || !known {
		t.Errorf("the other: %v, known: %t", d, known)
	}
}

// chain is a root and what it certified, as PEM, good for an hour.
func chain(t *testing.T) (text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Hour)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotAfter: end}
	for _, c := range []*x509.Certificate{root, leaf} {
		der, err := x509.CreateCertificate(rand.Reader, c, root, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return text
}

// What a chain of certificates is worth changes with time.
func TestAPolicyThatVerifiesChainsIsAskedEachTime(t *testing.T) {
	for _, call := range []string{
		"crypto.x509.parse_and_verify_certificates(input.claims.chain)[0]",
		"f(input.claims.chain)[0] with f as crypto.x509.parse_and_verify_certificates",
		"crypto.x509.parse_and_verify_certificates_with_options(input.claims.chain, {\"KeyUsages\": [\"KeyUsageAny\"]})[0]",
	} {
		p := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if { "+call+" }\nf(x) := [false]")
		m := Remember(data(t, nil))
		input := handshake("aa", 1)
		input["claims"].(map[string]any)["chain"] = chain(t)
		for n := range 3 {
			if d, _ := rememberingAbout(t, m, p, input, []map[string]any{nil, resource("a", "b", "c")}[n%2]); !d.Allow || m.of(p).kept > 0 {
				t.Errorf("%s: %d: got %v, %d kept, want none", call, n, d, m.of(p).kept)
			}
		}
	}
}
