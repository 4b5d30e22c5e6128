package policy

import (
	"reflect"
	"testing"
)

// Whatever a policy reads, less data is enough only if it says the same.
func TestLessDataIsEnoughOnlyForWhoReadsNoMore(t *testing.T) {
	data, err := NewData(map[string]any{
		"images":    map[string]any{"a": map[string]any{"status": "trusted"}, "b": map[string]any{"status": "revoked"}},
		"reference": map[string]any{"r": 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	few := data.Only("images", "a").Only("reference")
	for rule, want := range map[string]bool{
		`data.images[input].status == "trusted"`:                        true,
		`not data.images.c`:                                             true,
		`not data.images.b.status == "trusted"`:                         false,
		`not data.images.b`:                                             false,
		`count(data.images) == 2`:                                       false,
		`some i in data.images; i.status == "revoked"`:                  false,
		`data.images[_].status == "trusted"`:                            false,
		`object.get(data.images, ["b", "status"], 0) == "revoked"`:      false,
		`json.filter(data.images, ["b"]).b.status == "revoked"`:         false,
		`count([1 | data.reference[_]]) == 1; data.images.a`:            false,
		`walk(data.images, [["b", "status"], "revoked"])`:               false,
		`every i in data.images { i.status }`:                           false,
		`x := input; data.images[x].status == "trusted"; not data.none`: true,
	} {
		p := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if { "+rule+" }\n")
		noting := data.Noting()
		full, err := p.Ask(t.Context(), "a", noting)
		if err != nil {
			t.Fatal(rule, err)
		}
		if got := noting.Enough(few); got != want {
			t.Errorf("%s: got %t, want %t", rule, got, want)
		}
		if less, err := p.Ask(t.Context(), "a", few); err != nil || want && !reflect.DeepEqual(less, full) {
			t.Errorf("%s: said to be enough, but %+v is not %+v (%v)", rule, less, full, err)
		}
	}
	if data.Enough(data) {
		t.Error("who took no notes knows nothing")
	}
}
