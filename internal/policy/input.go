package policy

import "github.com/open-policy-agent/opa/v1/ast"

// inputValue converts an input, and adds the names under which Trustee's
// attestation policies find what ours have elsewhere: the claims stand under
// the kind of evidence that they come from.
func inputValue(input any) (ast.Value, error) {
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
	claims := o.Get(ast.StringTerm("claims"))
	tee := o.Get(ast.StringTerm("tee"))
	if claims == nil || tee == nil {
		return v, nil
	}
	add := func(key, value *ast.Term) {
		if _, text := key.Value.(ast.String); text && value != nil && o.Get(key) == nil {
			o.Insert(key, value)
		}
	}
	add(tee, claims)
	if c, ok := claims.Value.(ast.Object); ok {
		add(ast.StringTerm("report_data"), c.Get(ast.StringTerm("report_data")))
	}
	if init := o.Get(ast.StringTerm("init_data")); init != nil {
		if i, ok := init.Value.(ast.Object); ok {
			add(ast.StringTerm("init_data_claims"), i.Get(ast.StringTerm("data")))
		}
	}
	return v, nil
}
