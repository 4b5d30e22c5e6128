package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const zeroPCR = "0000000000000000000000000000000000000000000000000000000000000000"

func pcr(digit string) string { return strings.Repeat(digit, 64) }

const configuration = "sha256:" + zeroPCR

// machine is an input that the shipped policy allows, changed by edit.
func machine(edit func(claims, initData map[string]any)) map[string]any {
	claims := map[string]any{"activated": true}
	for n := range 24 {
		claims[fmt.Sprintf("pcr%02d", n)] = zeroPCR
	}
	claims["pcr04"], claims["pcr07"], claims["pcr11"] = pcr("4"), pcr("7"), pcr("b")
	initData := map[string]any{"digest": configuration}
	if edit != nil {
		edit(claims, initData)
	}
	return map[string]any{"tee": "tpm", "claims": claims, "init_data": initData}
}

func boot(secure bool, pcr4, pcr7 string) map[string]any {
	return map[string]any{"firmware": "sha256:f", "secure_boot": secure, "pcrs": map[string]string{"4": pcr4, "7": pcr7}}
}

func trusted(boots ...any) map[string]any {
	return map[string]any{
		"reference": map[string]any{"sha256:1": map[string]any{
			"image": "guest", "firmware": boots, "pcrs": map[string]string{"11": pcr("b")},
		}},
		"images":         map[string]any{pcr("b"): map[string]any{"status": "trusted", "image": "guest", "uki": "sha256:aa", "references": []string{"sha256:1"}}},
		"configurations": map[string]any{configuration: map[string]any{"resources": []string{"default/key/x"}}},
	}
}

func compile(t testing.TB, source string) *Policy {
	t.Helper()
	p, err := Compile("test.rego", source)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMachineThatShowsReferenceValuesIsAllowed(t *testing.T) {
	p := compile(t, Attestation)
	got, err := p.Decide(context.Background(), machine(nil), trusted(boot(true, pcr("4"), pcr("7"))))
	if err != nil || !got.Allow || got.Reasons != nil {
		t.Fatalf("got %+v, %v, want allowed", got, err)
	}
	if got.Trust["executables"] != 3 || got.Trust["hardware"] != 2 {
		t.Fatalf("got trust %v, want an affirming vector", got.Trust)
	}
}

func TestAKeyThatNoTPMWasShownToHoldAffirmsNoInstance(t *testing.T) {
	p := compile(t, Attestation)
	for _, edit := range []func(claims, _ map[string]any){
		func(c, _ map[string]any) { c["activated"] = false },
		func(c, _ map[string]any) { delete(c, "activated") },
		func(c, _ map[string]any) { c["activated"] = "true" },
	} {
		got, err := p.Decide(context.Background(), machine(edit), trusted(boot(true, pcr("4"), pcr("7"))))
		if err != nil || !got.Allow || got.Trust["instance-identity"] != 0 || got.Trust["hardware"] != 0 || got.Trust["executables"] != 3 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestExtensionsThatATokenCannotHoldDeny(t *testing.T) {
	const source = "package policy\nimport rego.v1\nallow := true\nextensions := "
	for text, good := range map[string]bool{
		`[{"name": "site", "key": -70001, "value": {"row": 7}}]`: true,
		`[]`: true,
		`[{"name": "ear.status", "key": 1, "value": 2}]`:                             false,
		`[{"name": "", "key": 1, "value": 2}]`:                                       false,
		`[{"name": "a", "key": 1, "value": 2}, {"name": "a", "key": 2, "value": 2}]`: false,
		`[{"name": "a", "key": 1, "value": 2}, {"name": "b", "key": 1, "value": 2}]`: false,
		`[{"name": "a", "key": "one", "value": 2}]`:                                  false,
	} {
		got, err := compile(t, source+text).Decide(context.Background(), map[string]any{}, nil)
		if (err == nil && got.Allow) != good {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
}

func TestEachDeviationHasItsOwnReason(t *testing.T) {
	good := trusted(boot(true, pcr("4"), pcr("7")))
	tests := map[string]struct {
		edit func(claims, initData map[string]any)
		data map[string]any
		want []string
	}{
		"unknown image": {
			edit: func(c, _ map[string]any) { c["pcr11"] = pcr("3") },
			want: []string{"PCR 11 is " + pcr("3") + ", no trusted image has it"},
		},
		"no trusted image": {
			data: map[string]any{"configurations": good["configurations"], "reference": map[string]any{}},
			want: []string{"no image is trusted at this broker yet"},
		},
		"other loader": {
			edit: func(c, _ map[string]any) { c["pcr04"] = pcr("5") },
			want: []string{"PCR 4 is " + pcr("5") + ", image guest shows " + pcr("4")},
		},
		"other keys": {
			edit: func(c, _ map[string]any) { c["pcr07"] = pcr("5") },
			want: []string{"PCR 7 is " + pcr("5") + ", image guest shows " + pcr("7")},
		},
		"mixed firmware": {
			edit: func(c, _ map[string]any) { c["pcr07"] = pcr("9") },
			data: trusted(boot(true, pcr("4"), pcr("7")), boot(true, pcr("8"), pcr("9"))),
			want: []string{"PCRs 4 and 7 of image guest do not belong to one firmware"},
		},
		"secure boot off": {
			data: trusted(boot(false, pcr("4"), pcr("7"))),
			want: []string{"Secure Boot is off"},
		},
		"planted credential": {
			edit: func(c, _ map[string]any) { c["pcr12"] = pcr("c") },
			want: []string{"PCR 12 is " + pcr("c") + ", must be zero: something overrode the kernel command line or added a credential"},
		},
		"system extension": {
			edit: func(c, _ map[string]any) { delete(c, "pcr13") },
			want: []string{"PCR 13 is missing, must be zero: a system extension was added"},
		},
		"unauthorised configuration": {
			edit: func(_, i map[string]any) { i["digest"] = "sha256:aa" },
			want: []string{"configuration sha256:aa is not authorised"},
		},
		"no configuration": {
			edit: func(_, i map[string]any) { delete(i, "digest") },
			want: []string{"the machine sent no init-data document"},
		},
	}
	p := compile(t, Attestation)
	for name, test := range tests {
		data := test.data
		if data == nil {
			data = good
		}
		got, err := p.Decide(context.Background(), machine(test.edit), data)
		if err != nil || got.Allow || !slices.Equal(got.Reasons, test.want) {
			t.Errorf("%s:\n got %v %q (%v)\nwant %q", name, got.Allow, got.Reasons, err, test.want)
		}
		if got.Trust["executables"] >= 0 && got.Trust["executables"] < 32 {
			t.Errorf("%s: a refused machine has trust %v", name, got.Trust)
		}
	}
}

// The guide's chapter on the broker has this rule.
func TestALineMorePinsTheFirmware(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(guide), "```rego\n")
	rule, _, whole := strings.Cut(rest, "```")
	if !found || !whole {
		t.Fatal("the guide has no rule")
	}
	p := compile(t, Attestation+strings.ReplaceAll(rule, "e3b0…", pcr("f")))
	data := trusted(boot(true, pcr("4"), pcr("7")))
	for firmware, allow := range map[string]bool{pcr("f"): true, pcr("e"): false} {
		got, err := p.Decide(t.Context(), machine(func(c, _ map[string]any) { c["pcr00"] = firmware }), data)
		if err != nil || got.Allow != allow || allow == (len(got.Reasons) > 0) {
			t.Errorf("PCR 0 is %.8s: got %+v, %v, want allow %t", firmware, got, err, allow)
		}
	}
}

func TestMissingClaimsNeverAllow(t *testing.T) {
	p := compile(t, Attestation)
	good := trusted(boot(true, pcr("4"), pcr("7")))
	for _, key := range []string{"pcr04", "pcr07", "pcr11", "pcr12", "pcr13"} {
		in := machine(func(c, _ map[string]any) { delete(c, key) })
		if got, _ := p.Decide(context.Background(), in, good); got.Allow {
			t.Errorf("without %s: allowed", key)
		}
	}
	for _, in := range []any{nil, map[string]any{}, []string{"x"}, "x"} {
		for _, data := range []map[string]any{nil, {}, good} {
			if got, _ := p.Decide(context.Background(), in, data); got.Allow || len(got.Reasons) == 0 {
				t.Errorf("input %v: got %+v, want a refusal with a reason", in, got)
			}
		}
	}
}

func token(status, digest string) map[string]any {
	return map[string]any{"submods": map[string]any{"cpu0": map[string]any{
		"ear.status": status, "ear.veraison.annotated-evidence": map[string]any{"init_data_digest": digest, "tpm": map[string]any{"pcr11": pcr("b")}},
	}}}
}

func TestResourceIsBoundToTheConfiguration(t *testing.T) {
	tests := map[string]struct {
		input any
		path  []string
		want  string
	}{
		"allowed":        {token("affirming", configuration), []string{"default", "key", "x"}, ""},
		"other resource": {token("affirming", configuration), []string{"default", "key", "y"}, "configuration " + configuration + " may not have resource default/key/y"},
		"other config":   {token("affirming", "sha256:aa"), []string{"default", "key", "x"}, "configuration sha256:aa is not authorised any more"},
		"not affirmed":   {token("contraindicated", configuration), []string{"default", "key", "x"}, "the token affirms no machine"},
		"no token":       {map[string]any{}, []string{"default", "key", "x"}, "the token affirms no machine"},
	}
	p := compile(t, Resource)
	for name, test := range tests {
		data := maps.Clone(trusted())
		data["plugin"], data["resource-path"] = "resource", test.path
		got, err := p.Decide(context.Background(), test.input, data)
		if err != nil {
			t.Fatal(err)
		}
		if got.Allow != (test.want == "") || (test.want != "" && !slices.Contains(got.Reasons, test.want)) {
			t.Errorf("%s: got %v %q, want %q", name, got.Allow, got.Reasons, test.want)
		}
	}
}

func TestBadModuleIsRefusedWithItsLine(t *testing.T) {
	tests := map[string]struct {
		source string
		line   int
		text   string
	}{
		"syntax":       {"package policy\n\nallow if {\n", 4, ""},
		"undefined":    {"package policy\n\nallow if nothing(1)\n", 3, "undefined function"},
		"other name":   {"package other\n\nallow := true\n", 1, "package must be policy"},
		"no allow":     {"package policy\n\nallowed := true\n", 0, "no rule allow, and no trust_claims"},
		"network":      {"package policy\n\nallow if http.send({\"url\": \"http://127.0.0.1\", \"method\": \"get\"})\n", 3, "undefined function http.send"},
		"files":        {"package policy\n\nallow if json.match_schema({}, {\"$ref\": \"file:///etc/passwd\"})[0]\n", 3, "undefined function json.match_schema"},
		"more files":   {"package policy\n\nallow if json.verify_schema({\"$ref\": \"file:///etc/passwd\"})[0]\n", 3, "undefined function json.verify_schema"},
		"environment":  {"package policy\n\nallow if opa.runtime().env.HOME\n", 3, "undefined function opa.runtime"},
		"clock":        {"package policy\n\nallow if time.now_ns() > 0\n", 3, "undefined function time.now_ns"},
		"empty":        {"", 0, ""},
		"not unicode":  {"package policy\nallow := \"\xff\"", 0, ""},
		"old language": {"package policy\nallow { true }", 2, ""},
	}
	for name, test := range tests {
		_, err := Compile("p.rego", test.source)
		var bad *CompileError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want a compile error", name, err)
			continue
		}
		if (test.line != 0 && bad.Line != test.line) || !strings.Contains(bad.Text, test.text) {
			t.Errorf("%s: got line %d %q, want line %d %q", name, bad.Line, bad.Text, test.line, test.text)
		}
	}
}

func TestWhateverGoesWrongIsARefusal(t *testing.T) {
	tests := map[string]string{
		"allow is no boolean": "package policy\nallow := \"yes\"",
		"reasons is a number": "package policy\nallow := true\nreasons := 4",
		"builtin error":       "package policy\nallow if 1 / 0 == 0",
		"conflict":            "package policy\nallow := true\nallow := false",
		"undefined":           "package policy\nallow if input.nothing",
	}
	for name, source := range tests {
		p, err := Compile("p.rego", source)
		if err != nil {
			t.Logf("%s: refused at once: %v", name, err)
			continue
		}
		if got, _ := p.Decide(context.Background(), map[string]any{}, nil); got.Allow || len(got.Reasons) == 0 {
			t.Errorf("%s: got %+v, want a refusal with a reason", name, got)
		}
	}
}

func TestEndlessEvaluationIsCutOff(t *testing.T) {
	p := compile(t, "package policy\nallow if {\n\tsome a in numbers.range(1, 1000000)\n\tsome b in numbers.range(1, 1000000)\n\ta + b == -1\n}")
	p.timeout = 50 * time.Millisecond
	start := time.Now()
	got, err := p.Decide(context.Background(), nil, nil)
	if err == nil || got.Allow {
		t.Fatalf("got %+v, %v, want an error", got, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Fatalf("took %v, want it cut off", took)
	}
}

func TestTrusteePolicyCompilesAndDecides(t *testing.T) {
	// The shape of Trustee's kbs/sample_policies: input is the token, data
	// says what is asked for.
	p := compile(t, "package policy\nimport rego.v1\ndefault allow = false\nallow if {\n\tdata.plugin == \"resource\"\n\tinput.submods.cpu0[\"ear.status\"] == \"affirming\"\n}")
	got, err := p.Decide(context.Background(), token("affirming", ""), map[string]any{"plugin": "resource"})
	if err != nil || !got.Allow {
		t.Fatalf("got %+v, %v, want allowed", got, err)
	}
}

//fuzz:parser compile.go:Compile,CompileModules,compileError,split,parse language.go:Language
func FuzzCompile(f *testing.F) {
	f.Add(Attestation)
	f.Add(Resource)
	f.Add("# rego_version: 0\npackage policy\nallow { true }")
	f.Add("# module: a\npackage policy\nallow if b\n# module: b\n# rego_version: 0\npackage policy\nb { true }")
	f.Fuzz(func(t *testing.T, source string) {
		var bad *CompileError
		if _, err := Compile("fuzz.rego", source); err != nil && !errors.As(err, &bad) {
			t.Fatalf("got %T, want *CompileError", err)
		}
	})
}
