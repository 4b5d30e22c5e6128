package policy

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// Data is what policies find under data, by name. It is converted once, and is
// never changed: With shares all that stays the same, so that a decision copies
// no more than the few names at the top.
type Data struct {
	storage.WritesNotSupported
	storage.PolicyNotSupported
	storage.TriggersNotSupported
	fields map[string]field
	text   func() ([]byte, error) // JSON of all, made once
	notes  *notes                 // of an evaluation; nil: none are taken
}

// newData are fields that nobody changes any more.
func newData(fields map[string]field) *Data {
	return &Data{fields: fields, text: sync.OnceValues(func() ([]byte, error) { return appendFields([]byte{'{'}, fields) })}
}

// A field is a value, and its JSON once somebody wanted it.
type field struct {
	value ast.Value
	json  func() ([]byte, error)
}

func newField(v ast.Value) field {
	return field{v, sync.OnceValues(func() ([]byte, error) {
		plain, err := ast.JSON(v)
		if err != nil {
			return nil, err
		}
		return json.Marshal(plain)
	})}
}

// notes are the places that an evaluation looked at.
type notes struct {
	paths []storage.Path
	same  atomic.Pointer[Data] // the last in which the same was found there, once the evaluation was over
}

// Noting is the data for one evaluation, which then knows what was read of it.
func (d *Data) Noting() *Data { return &Data{fields: d.fields, text: d.text, notes: &notes{}} }

// Enough tells whether a policy that was asked over d finds the same in few
// wherever it looked: then it says the same of few, for it sees nothing else.
// The evaluation is over by then.
func (d *Data) Enough(few *Data) bool {
	if d.notes == nil {
		return false
	}
	if d.notes.same.Load() == few { // neither ever changes
		return true
	}
	if !d.agrees(few) {
		return false
	}
	d.notes.same.Store(few)
	return true
}

func (d *Data) agrees(few *Data) bool {
	for _, path := range d.notes.paths {
		was, ok := d.at(path)
		is, also := few.at(path)
		if ok != also || ok && ast.Compare(was, is) != 0 {
			return false
		}
	}
	return true
}

// NewData takes values as they are in JSON.
func NewData(values map[string]any) (*Data, error) { return new(Data).With(values) }

// errReserved keeps data from standing in for rules.
var errReserved = errors.New("data may not be named policy or holdfast: rules are")

// With is the data and values beside it, or in place of those with their names.
func (d *Data) With(values map[string]any) (*Data, error) {
	fields := maps.Clone(d.fields)
	if fields == nil {
		fields = map[string]field{}
	}
	for name, value := range values {
		if name == "policy" || name == "holdfast" {
			return nil, errReserved
		}
		v, ok := value.(ast.Value)
		if !ok {
			var err error
			if v, err = ast.InterfaceToValue(value); err != nil {
				return nil, err
			}
		}
		fields[name] = newField(v)
	}
	return newData(fields), nil
}

// Only is the data with no more left of the object with this name than the
// members with these keys.
func (d *Data) Only(name string, keys ...string) *Data {
	few := ast.NewObject()
	if all, ok := d.fields[name].value.(ast.Object); ok {
		for _, key := range keys {
			k := ast.StringTerm(key)
			if v := all.Get(k); v != nil {
				few.Insert(k, v)
			}
		}
	}
	fields := maps.Clone(d.fields)
	fields[name] = newField(few)
	return newData(fields)
}

// MarshalJSON gives the values back. The text is everybody's: nobody may change
// it.
func (d *Data) MarshalJSON() ([]byte, error) {
	if d.text == nil { // the zero value
		return []byte("{}"), nil
	}
	return d.text()
}

func appendFields(out []byte, fields map[string]field) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value, err := fields[name].json()
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}'), nil
}

func (d *Data) object() ast.Object {
	o := ast.NewObject()
	for name, f := range d.fields {
		o.Insert(ast.StringTerm(name), ast.NewTerm(f.value))
	}
	return o
}

// reading is the one transaction that data needs: nobody writes.
type reading struct{}

func (reading) ID() uint64 { return 1 }

// NewTransaction implements storage.Store.
func (d *Data) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return reading{}, nil
}

// Commit implements storage.Store.
func (d *Data) Commit(context.Context, storage.Transaction) error { return nil }

// Abort implements storage.Store.
func (d *Data) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store.
func (d *Data) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr}
}

// Read implements storage.Store.
func (d *Data) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	if d.notes != nil {
		d.notes.paths = append(d.notes.paths, path)
	}
	v, ok := d.at(path)
	if !ok {
		return nil, &storage.Error{Code: storage.NotFoundErr}
	}
	return v, nil
}

func (d *Data) at(path storage.Path) (ast.Value, bool) {
	if len(path) == 0 {
		return d.object(), true
	}
	f, ok := d.fields[path[0]]
	v := f.value
	for _, key := range path[1:] {
		if ok {
			v, ok = member(v, key)
		}
	}
	return v, ok
}

func member(v ast.Value, key string) (ast.Value, bool) {
	var t *ast.Term
	switch v := v.(type) {
	case ast.Object:
		t = v.Get(ast.StringTerm(key))
	case *ast.Array:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < v.Len() && strconv.Itoa(i) == key {
			t = v.Elem(i)
		}
	}
	if t == nil {
		return nil, false
	}
	return t.Value, true
}
