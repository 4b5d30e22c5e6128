package policy

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"holdfast/internal/policy/claims"
)

// lazyInput is inputValue of an object. Of what stands in it, no more is
// converted than the policy looks at, which is little of much.
func lazyInput(members map[string]any) (ast.Value, error) {
	all, err := convertible(members)
	if err != nil {
		return nil, err
	}
	shown, has := all["claims"]
	tee, named := all["tee"]
	if !has || !named {
		return ast.LazyObject(all), nil
	}
	all = maps.Clone(all)
	add := func(name string, value any) {
		if _, there := all[name]; !there {
			all[name] = value
		}
	}
	if name, ok := look(tee).(string); ok {
		add(name, shown)
	}
	if c, ok := shown.(map[string]any); ok {
		if data, has := c["report_data"]; has {
			add("report_data", data)
		}
	}
	if init, ok := all["init_data"].(map[string]any); ok && init["data"] != nil {
		if texts, ok := look(init["data"]).(map[string]string); ok && claims.Plain(func(name string) bool { _, has := texts[name]; return has }) {
			add("init_data_claims", texts)
			return ast.LazyObject(all), nil
		}
		data, err := ast.InterfaceToValue(init["data"])
		if err != nil {
			return nil, err
		}
		parsed, err := initDataClaims(ast.NewTerm(data))
		if err != nil {
			return nil, err
		}
		add("init_data_claims", parsed.Value)
	}
	return ast.LazyObject(all), nil
}

// convertible is an object whose members can be converted later, when nobody
// could be told of an error: what is not of the types that JSON is read into is
// converted now.
func convertible(members map[string]any) (map[string]any, error) {
	changed := map[string]any{}
	for name, member := range members {
		if plain(member) {
			continue
		}
		inner, ok := member.(map[string]any)
		if !ok {
			v, err := ast.InterfaceToValue(member)
			if err != nil {
				return nil, err
			}
			changed[name] = v
			continue
		}
		is, err := convertible(inner)
		if err != nil {
			return nil, err
		}
		changed[name] = is
	}
	if len(changed) == 0 {
		return members, nil
	}
	all := maps.Clone(members)
	maps.Copy(all, changed)
	return all, nil
}

func plain(v any) bool {
	switch v := v.(type) {
	case nil, bool, string, float64, int, int64, json.Number, []string, map[string]string, watched:
		return true
	case []any:
		return !slices.ContainsFunc(v, func(v any) bool { return !plain(v) })
	case map[string]any:
		for _, member := range v {
			if !plain(member) {
				return false
			}
		}
		return true
	}
	return false
}
