package plainjson

import "encoding/base64"

// An Object is written member by member, in the order of a struct's fields.
type Object struct {
	text []byte
	err  error
}

// Begin begins an object behind text.
func Begin(text []byte) *Object { return &Object{text: append(text, '{')} }

// Add adds a member.
func (o *Object) Add(name string, v any) {
	if o.name(name); o.err == nil {
		o.text, o.err = Append(o.text, v)
	}
}

// Text adds a member, unless its text is empty.
func (o *Object) Text(name, text string) {
	if text != "" {
		o.name(name)
		o.text = AppendString(o.text, text)
	}
}

// Texts adds a list, unless it is empty.
func (o *Object) Texts(name string, list []string) {
	if len(list) > 0 {
		o.Add(name, list)
	}
}

// Bytes adds bytes, in base64.
func (o *Object) Bytes(name string, raw []byte) {
	if raw == nil {
		o.Add(name, nil)
		return
	}
	o.name(name)
	o.text = append(base64.StdEncoding.AppendEncode(append(o.text, '"'), raw), '"')
}

// Inside adds an object that fill writes.
func (o *Object) Inside(name string, fill func(*Object)) {
	o.name(name)
	inner := Begin(o.text)
	fill(inner)
	text, err := inner.End()
	if o.text = text; o.err == nil {
		o.err = err
	}
}

func (o *Object) name(name string) {
	if o.text[len(o.text)-1] != '{' {
		o.text = append(o.text, ',')
	}
	o.text = append(AppendString(o.text, name), ':')
}

// End ends the object.
func (o *Object) End() ([]byte, error) { return append(o.text, '}'), o.err }
