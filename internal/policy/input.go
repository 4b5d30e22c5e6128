package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"holdfast/internal/policy/claims"
)

// inputValue converts an input, and adds the names under which Trustee's
// attestation policies find what ours have elsewhere: the claims stand under
// the kind of evidence that they come from.
func inputValue(input any) (ast.Value, error) {
	if members, ok := input.(map[string]any); ok {
		return lazyInput(members)
	}
	v, ok := input.(ast.Value)
	if !ok {
		var err error
		if v, err = ast.InterfaceToValue(input); err != nil {
			return nil, err
		}
	}
	o, ok := v.(ast.Object)
	if !ok {
		return v, nil
	}
	shown := o.Get(ast.StringTerm("claims"))
	tee := o.Get(ast.StringTerm("tee"))
	if shown == nil || tee == nil {
		return v, nil
	}
	add := func(key, value *ast.Term) {
		if _, text := key.Value.(ast.String); text && value != nil && o.Get(key) == nil {
			o.Insert(key, value)
		}
	}
	add(tee, shown)
	if c, ok := shown.Value.(ast.Object); ok {
		add(ast.StringTerm("report_data"), c.Get(ast.StringTerm("report_data")))
	}
	if init := o.Get(ast.StringTerm("init_data")); init != nil {
		if i, ok := init.Value.(ast.Object); ok {
			parsed, err := initDataClaims(i.Get(ast.StringTerm("data")))
			if err != nil {
				return nil, err
			}
			add(ast.StringTerm("init_data_claims"), parsed)
		}
	}
	return v, nil
}

// initDataClaims parses what Trustee does of a document's data. Most have
// nothing of that, and stand there twice without being copied.
func initDataClaims(data *ast.Term) (*ast.Term, error) {
	if data == nil {
		return nil, nil
	}
	table, ok := data.Value.(ast.Object)
	if !ok || claims.Plain(func(name string) bool { return table.Get(ast.StringTerm(name)) != nil }) {
		return data, nil
	}
	texts := map[string]string{}
	table.Foreach(func(key, value *ast.Term) {
		name, named := key.Value.(ast.String)
		if text, ok := value.Value.(ast.String); named && ok {
			texts[string(name)] = string(text)
		}
	})
	v, err := ast.InterfaceToValue(claims.OfInitData(texts))
	if err != nil {
		return nil, err
	}
	return ast.NewTerm(v), nil
}
