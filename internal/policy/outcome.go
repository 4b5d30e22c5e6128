package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// outcome is what a policy said, as it is documented.
type outcome struct {
	allow      bool
	reasons    []string
	trust      map[string]int8
	extensions []Extension
}

func readOutcome(said ast.Object) (outcome, error) {
	var out outcome
	err := said.Iter(func(key, value *ast.Term) error {
		var err error
		name, _ := key.Value.(ast.String)
		switch name {
		case "allow":
			out.allow, err = readBool(value.Value)
		case "reasons":
			out.reasons, err = readStrings(value.Value)
		case "trust_claims":
			out.trust, err = readTrust(value.Value)
		case "extensions":
			if err = decode(value.Value, &out.extensions); err == nil {
				err = checkExtensions(out.extensions)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", string(name), err)
		}
		return nil
	})
	return out, err
}

func readBool(v ast.Value) (bool, error) {
	b, ok := v.(ast.Boolean)
	if !ok {
		return false, errors.New("it is no boolean")
	}
	return bool(b), nil
}

// readStrings reads a set or an array.
func readStrings(v ast.Value) ([]string, error) {
	var list []string
	var err error
	add := func(t *ast.Term) {
		s, ok := t.Value.(ast.String)
		if !ok {
			err = errors.New("it is no set of strings")
		}
		list = append(list, string(s))
	}
	switch v := v.(type) {
	case ast.Set:
		v.Foreach(add)
	case *ast.Array:
		v.Foreach(add)
	default:
		err = errors.New("it is no set of strings")
	}
	return list, err
}

func readTrust(v ast.Value) (map[string]int8, error) {
	o, ok := v.(ast.Object)
	if !ok {
		return nil, errors.New("it is no object")
	}
	trust := make(map[string]int8, o.Len())
	return trust, o.Iter(func(key, value *ast.Term) error {
		name, _ := key.Value.(ast.String)
		number, ok := value.Value.(ast.Number)
		n, whole := number.Int()
		if !ok || !whole || n < -128 || n > 127 {
			return fmt.Errorf("%s is not a number from -128 to 127", key)
		}
		trust[string(name)] = int8(n)
		return nil
	})
}

// reserved are the claims that an appraisal has by itself, of which a policy may
// not say something else.
var reserved = []string{"ear.status", "ear.trustworthiness-vector", "ear.appraisal-policy-id",
	"ear.veraison.annotated-evidence", "ear.veraison.policy-claims", "ear.veraison.key-attestation"}

// checkExtensions refuses what the token could not hold, as Trustee does
// (ear::Extensions::register): each name and each key once.
func checkExtensions(all []Extension) error {
	names, keys := map[string]bool{}, map[int32]bool{}
	for _, e := range all {
		if e.Name == "" || slices.Contains(reserved, e.Name) || names[e.Name] || keys[e.Key] {
			return fmt.Errorf("%.80q, %d: want a name and a key that nothing else has", e.Name, e.Key)
		}
		names[e.Name], keys[e.Key] = true, true
	}
	return nil
}

func decode(v ast.Value, into any) error {
	plain, err := ast.JSON(v)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// affirms says whether a trustworthiness vector affirms the machine: something
// is said of it, and all that is said is good (draft-ietf-rats-ar4si, 2.3.2).
func affirms(trust map[string]int8) (bool, []string) {
	var good int
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(trust)) {
		switch v := trust[name]; {
		case v < -32 || v > 31:
			reasons = append(reasons, fmt.Sprintf("the policy says %d of the machine's %s, which affirms nothing", v, name))
		case v < -1 || v > 1:
			good++
		}
	}
	if good == 0 && len(reasons) == 0 {
		reasons = []string{"the policy affirms nothing of the machine"}
	}
	return good > 0 && len(reasons) == 0, reasons
}
