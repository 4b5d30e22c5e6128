package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// An asked is what a policy is asked, as JSON has it.
type asked struct {
	Input any            `json:"input"`
	Data  map[string]any `json:"data"`
}

func (a asked) copied(t testing.TB) asked {
	t.Helper()
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var c asked
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// at walks to a path of keys and indices.
func at(v any, path []string) any {
	for _, key := range path {
		switch c := v.(type) {
		case map[string]any:
			v = c[key]
		case []any:
			var i int
			_, _ = fmt.Sscan(key, &i)
			v = c[i]
		}
	}
	return v
}

// paths lists the ways to all that is in v.
func paths(v any) [][]string {
	var all [][]string
	add := func(key string, child any) {
		all = append(all, []string{key})
		for _, p := range paths(child) {
			all = append(all, append([]string{key}, p...))
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			add(key, v[key])
		}
	case []any:
		for i, child := range v {
			add(fmt.Sprint(i), child)
		}
	}
	return all
}

var absent = new(int) // in place of a value: none

// others are values that are not of v's type, and none at all.
func others(v any) []any {
	all := []any{absent, nil, []any{}, map[string]any{}, []any{v}, map[string]any{"x": v}}
	if _, ok := v.(bool); !ok {
		all = append(all, true, false)
	}
	if _, ok := v.(string); !ok {
		all = append(all, "", "trusted", "data.policy.allow", `" == ""`)
	}
	if _, ok := v.(float64); !ok {
		all = append(all, 0, -1, 1e300)
	}
	return all
}

// strangers are fields that nobody expects.
var strangers = map[string]any{
	"allow": true, "granted": true, "trusted": map[string]any{"tpm": true, "snp": true}, "reasons": []any{}, "policy": map[string]any{"allow": true},
	"snp": map[string]any{}, "secure_boot": true, "status": "trusted", "": "", strings.Repeat("k", 1<<16): 1, "a.b": 1, `a"]`: 1, "../..": 1,
}

func put(root any, path []string, v any) {
	parent, key := at(root, path[:len(path)-1]), path[len(path)-1]
	switch p := parent.(type) {
	case map[string]any:
		if v == any(absent) {
			delete(p, key)
			return
		}
		p[key] = v
	case []any:
		var i int
		_, _ = fmt.Sscan(key, &i)
		p[i] = v
		if v == any(absent) {
			p[i] = nil
		}
	}
}

// everyChange calls try with each single change of what was asked.
func everyChange(t *testing.T, base asked, try func(what string, changed asked)) {
	t.Helper()
	whole := map[string]any{"input": base.copied(t).Input, "data": any(base.copied(t).Data)}
	for _, path := range paths(whole) {
		if slices.Equal(path, []string{"data"}) {
			continue
		}
		was := at(whole, path)
		changes := others(was)
		if o, ok := was.(map[string]any); ok {
			for name, value := range strangers {
				if _, there := o[name]; !there && !(name == "policy" && path[0] == "data" && len(path) == 1) {
					more := maps.Clone(o)
					more[name] = value
					changes = append(changes, more)
				}
			}
		}
		for _, to := range changes {
			c := base.copied(t)
			root := map[string]any{"input": c.Input, "data": any(c.Data)}
			put(root, path, to)
			data, _ := root["data"].(map[string]any)
			try(fmt.Sprintf("%.80s as %.60v", strings.Join(path, "."), to), asked{root["input"], data})
		}
	}
}

// goodMachine is asked of a machine that is allowed, changed by edit.
func goodMachine(t *testing.T, edit func(claims, initData map[string]any), editData func(map[string]any)) asked {
	t.Helper()
	a := asked{machine(edit), trusted(boot(true, pcr("4"), pcr("7")))}.copied(t)
	if editData != nil {
		editData(a.Data)
	}
	return a
}

func TestNoChangeTurnsARefusedMachineIntoAnAllowedOne(t *testing.T) {
	image := func(status string) func(map[string]any) {
		return func(d map[string]any) { d["images"].(map[string]any)[pcr("b")].(map[string]any)["status"] = status }
	}
	refused := map[string]asked{
		"unknown image":    goodMachine(t, func(c, _ map[string]any) { c["pcr11"] = pcr("c") }, nil),
		"other firmware":   goodMachine(t, func(c, _ map[string]any) { c["pcr04"] = pcr("c") }, nil),
		"other keys":       goodMachine(t, func(c, _ map[string]any) { c["pcr07"] = pcr("c") }, nil),
		"command line":     goodMachine(t, func(c, _ map[string]any) { c["pcr12"] = pcr("c") }, nil),
		"extension":        goodMachine(t, func(c, _ map[string]any) { c["pcr13"] = pcr("c") }, nil),
		"configuration":    goodMachine(t, func(_, i map[string]any) { i["digest"] = "sha256:aa" }, nil),
		"no configuration": goodMachine(t, func(_, i map[string]any) { delete(i, "digest") }, nil),
		"revoked":          goodMachine(t, nil, image("revoked")),
		"expired":          goodMachine(t, nil, image("expired")),
		"distrusted":       goodMachine(t, nil, func(d map[string]any) { delete(d["reference"].(map[string]any), "sha256:1") }),
		"no Secure Boot":   asked{machine(nil), trusted(boot(false, pcr("4"), pcr("7")))}.copied(t),
	}
	p := compile(t, Attestation)
	for name, base := range refused {
		if got, err := p.Decide(t.Context(), base.Input, base.Data); err != nil || got.Allow {
			t.Fatalf("%s: got %+v, %v, want a refusal", name, got, err)
		}
		tried := 0
		everyChange(t, base, func(what string, changed asked) {
			tried++
			got, _ := p.Decide(t.Context(), changed.Input, changed.Data)
			if got.Allow || len(got.Reasons) == 0 {
				t.Errorf("%s: %s: got %+v, want a refusal with a reason", name, what, got)
			}
		})
		if tried < 500 {
			t.Errorf("%s: tried %d changes, want hundreds", name, tried)
		}
	}
}

// snpMachine is one under SEV-SNP that is allowed, changed by edit.
func snpMachine(t *testing.T, edit func(claims, reference map[string]any)) asked {
	t.Helper()
	claims := map[string]any{"measurement": pcr("5"), "policy_debug_allowed": false, "policy_migrate_ma": false, "vmpl": 0}
	least := map[string]any{}
	for _, part := range []string{"bootloader", "tee", "snp", "microcode"} {
		least[part], claims["reported_tcb_"+part], claims["committed_tcb_"+part] = 3, 3, 4
	}
	reference := map[string]any{"image": "guest", "pcrs": map[string]any{}, "snp": []any{map[string]any{"measurement": pcr("5"), "minimum_tcb": least}}}
	if edit != nil {
		edit(claims, reference)
	}
	data := trusted()
	data["reference"] = map[string]any{"sha256:1": reference}
	data["images"] = map[string]any{pcr("5"): map[string]any{"status": "trusted", "references": []string{"sha256:1"}}}
	return asked{map[string]any{"tee": "snp", "claims": claims, "init_data": map[string]any{"digest": configuration}}, data}.copied(t)
}

func TestNoChangeTurnsARefusedSNPMachineIntoAnAllowedOne(t *testing.T) {
	p := compile(t, Attestation)
	good := snpMachine(t, nil)
	if got, err := p.Decide(t.Context(), good.Input, good.Data); err != nil || !got.Allow {
		t.Fatalf("got %+v, %v, want allowed", got, err)
	}
	for name, edit := range map[string]func(claims, reference map[string]any){
		"debugged":  func(c, _ map[string]any) { c["policy_debug_allowed"] = true },
		"movable":   func(c, _ map[string]any) { c["policy_migrate_ma"] = true },
		"lower":     func(c, _ map[string]any) { c["vmpl"] = 1 },
		"other":     func(c, _ map[string]any) { c["measurement"] = pcr("6") },
		"old":       func(c, _ map[string]any) { c["reported_tcb_snp"] = 2 },
		"undone":    func(c, _ map[string]any) { c["committed_tcb_microcode"] = 2 },
		"no levels": func(_, r map[string]any) { delete(r["snp"].([]any)[0].(map[string]any), "minimum_tcb") },
	} {
		base := snpMachine(t, edit)
		if got, err := p.Decide(t.Context(), base.Input, base.Data); err != nil || got.Allow {
			t.Fatalf("%s: got %+v, %v, want a refusal", name, got, err)
		}
		everyChange(t, base, func(what string, changed asked) {
			if got, _ := p.Decide(t.Context(), changed.Input, changed.Data); got.Allow || len(got.Reasons) == 0 {
				t.Errorf("%s: %s: got %+v, want a refusal with a reason", name, what, got)
			}
		})
	}
}

func TestNoChangeTurnsARefusedReleaseIntoAnAllowedOne(t *testing.T) {
	release := func(edit func(submod, data map[string]any)) asked {
		data := maps.Clone(trusted())
		data["plugin"], data["resource-path"], data["query"] = "resource", []string{"default", "key", "x"}, map[string]any{}
		a := asked{token("affirming", configuration), data}.copied(t)
		edit(at(a.Input, []string{"submods", "cpu0"}).(map[string]any), a.Data)
		return a
	}
	p := compile(t, Resource)
	good := release(func(_, _ map[string]any) {})
	if got, err := p.Decide(t.Context(), good.Input, good.Data); err != nil || !got.Allow {
		t.Fatalf("got %+v, %v, want allowed", got, err)
	}
	refused := map[string]asked{
		"not affirmed":   release(func(s, _ map[string]any) { s["ear.status"] = "warning" }),
		"none":           release(func(s, _ map[string]any) { s["ear.status"] = "none" }),
		"other resource": release(func(_, d map[string]any) { d["resource-path"] = []any{"default", "key", "y"} }),
		"other plugin":   release(func(_, d map[string]any) { d["plugin"] = "pkcs11" }),
		"revoked":        release(func(_, d map[string]any) { put(d, []string{"images", pcr("b"), "status"}, "revoked") }),
		"distrusted":     release(func(_, d map[string]any) { put(d, []string{"images", pcr("b")}, absent) }),
		"withdrawn":      release(func(_, d map[string]any) { put(d, []string{"configurations", configuration}, absent) }),
	}
	for name, base := range refused {
		if got, err := p.Decide(t.Context(), base.Input, base.Data); err != nil || got.Allow {
			t.Fatalf("%s: got %+v, %v, want a refusal", name, got, err)
		}
		everyChange(t, base, func(what string, changed asked) {
			got, _ := p.Decide(t.Context(), changed.Input, changed.Data)
			if got.Allow || len(got.Reasons) == 0 {
				t.Errorf("%s: %s: got %+v, want a refusal with a reason", name, what, got)
			}
		})
	}
}

// What is asked is data, never text that is put together to a question.
func TestNothingInAnInputIsRead(t *testing.T) {
	p := compile(t, Attestation)
	for _, text := range []string{`"`, `\`, "x\" == \"x", "data.policy.allow", "${7*7}", "{{.}}", "%s%s%n", "\x00", "../../policy", "sha256:" + strings.Repeat("0", 64) + `"]; allow := true; x := ["`} {
		input := machine(func(c, i map[string]any) {
			c["pcr11"], c["pcr12"], c[text], i["digest"] = text, text, text, text
		})
		got, err := p.Decide(t.Context(), input, trusted(boot(true, pcr("4"), pcr("7"))))
		if err != nil || got.Allow || !slices.Contains(got.Reasons, "PCR 11 is "+text+", no trusted image has it") {
			t.Errorf("%q: got %+v, %v, want it named in a refusal", text, got, err)
		}
	}
}

func TestDataCannotStandInForRules(t *testing.T) {
	for _, name := range []string{"policy", "holdfast"} {
		got, err := compile(t, Attestation).Decide(t.Context(), machine(nil), map[string]any{name: map[string]any{"allow": true, "said": map[string]any{"allow": true}}})
		if err == nil || got.Allow || !strings.Contains(err.Error(), "data may not be named policy or holdfast") {
			t.Errorf("data.%s: got %+v, %v, want an error that says so", name, got, err)
		}
	}
}

// sound says in Go what the shipped attestation policy may allow at most.
func sound(a asked) bool {
	claim := func(name string) any { return at(a.Input, []string{"claims", name}) }
	digest, _ := at(a.Input, []string{"init_data", "digest"}).(string)
	configuration := at(a.Data, []string{"configurations", digest})
	shown, _ := claim("pcr11").(string)
	references, _ := a.Data["reference"].(map[string]any)
	if configuration == nil || configuration == false || at(a.Input, []string{"tee"}) != "tpm" || claim("pcr12") != zeroPCR || claim("pcr13") != zeroPCR ||
		at(a.Data, []string{"images", shown, "status"}) != "trusted" {
		return false
	}
	for _, r := range references {
		boots, _ := at(r, []string{"firmware"}).([]any)
		if object, ok := at(r, []string{"firmware"}).(map[string]any); ok {
			boots = slices.Collect(maps.Values(object))
		}
		for _, b := range boots {
			if at(r, []string{"pcrs", "11"}) == shown && at(b, []string{"secure_boot"}) == true &&
				at(b, []string{"pcrs", "4"}) == claim("pcr04") && at(b, []string{"pcrs", "7"}) == claim("pcr07") {
				return true
			}
		}
	}
	return false
}

//fuzz:parser policy.go:Ask,evaluate,decision outcome.go:readOutcome data.go:With,Read,member input.go:inputValue
func FuzzDecide(f *testing.F) {
	good, err := json.Marshal(asked{machine(nil), trusted(boot(true, pcr("4"), pcr("7")))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"input":{"tee":"tpm","claims":7},"data":{"images":[]}}`))
	p := compile(f, Attestation)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a asked
		if json.Unmarshal(raw, &a) != nil {
			t.Skip("no question")
		}
		got, err := p.Decide(t.Context(), a.Input, a.Data)
		if got.Allow && (err != nil || !sound(a)) || !got.Allow && len(got.Reasons) == 0 {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}
