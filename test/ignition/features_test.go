package ignition

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// fields are all that a config can have, by their names in JSON.
func fields(t reflect.Type, path string, list map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			path += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		list[path] = true
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fields(f.Type, path, list)
			continue
		}
		fields(f.Type, path+"."+name, list)
	}
}

// touched are those that a config has.
func touched(value any, path string, list map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			touched(inner, path+"."+name, list)
		}
	case []any:
		for _, inner := range v {
			touched(inner, path+"[]", list)
		}
	default:
		list[path] = true
	}
}

// beyond are fields that no config beside upstream has, and why.
var beyond = map[string]string{
	"$.storage.luks[].cex":                   "refused: TestWhatNoMachineIsMadeToDoIsRefusedByItsField",
	"$.storage.luks[].clevis.tang[]":         "the same",
	"$.storage.luks[].clevis.threshold":      "the same, above 1",
	"$.storage.luks[].clevis.tpm2":           "what a TPM seals is no other TPM's: TestClevisOpensWhatWeSeal, TestABoundVolumeOpensByTheTPM, and upstream's own test",
	"$.storage.luks[].clevis.custom":         "the same",
	"$.storage.luks[].keyFile.httpHeaders[]": "the machine that makes volumes has no server; asked for as all else is: net-appended",
}

// A field that a new version brings is missing here until a config has it.
func TestTheConfigsBesideUpstreamTouchEveryField(t *testing.T) {
	all, used := map[string]bool{}, map[string]bool{}
	fields(reflect.TypeFor[types.Config](), "$", all)
	configs := 0
	for _, pattern := range []string{"testdata/*.ign", "../blackbox/testdata/beside/*.ign"} {
		list, err := filepath.Glob(pattern)
		check(t, err)
		for _, path := range list {
			raw, err := os.ReadFile(path)
			check(t, err)
			var c any
			if json.Unmarshal(raw, &c) != nil || strings.HasSuffix(path, ".before.ign") || strings.HasPrefix(filepath.Base(path), "refused-") {
				continue // the empty one, those that are not compared, those that are not applied
			}
			touched(c, "$", used)
			configs++
		}
	}
	t.Logf("%d configs that are applied touch %d of %d fields", configs, len(used), len(all))
	for f := range used {
		if !all[f] {
			t.Errorf("%s: is no field", f)
		}
	}
	for f := range all {
		excused := slices.ContainsFunc(slices.Collect(maps.Keys(beyond)), func(p string) bool { return f == p || strings.HasPrefix(f, p+".") })
		if used[f] == excused {
			t.Errorf("%s: in a config is %v, excused %v", f, used[f], excused)
		}
	}
}
