package plainjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

func same(t *testing.T, v any) {
	t.Helper()
	want, err := json.Marshal(v)
	got, also := Marshal(v)
	if (err == nil) != (also == nil) || err == nil && !bytes.Equal(got, want) {
		t.Errorf("%#v:\ngot  %s, %v\nwant %s, %v", v, got, also, want, err)
	}
}

func TestEveryValueIsWrittenAsEncodingJSONDoes(t *testing.T) {
	type own []string
	var none map[string]any
	var nobody []string
	for _, v := range []any{nil, true, 1, int8(-3), int64(1) << 60, 0.5, uint8(7), "", "plain", "<&>", "ä\u2028\x00\xff\"\\\n\x7f",
		"line\n\t\"quoted\" \\ \r", "\"<", "\x7f\b", time.Unix(1, 2).UTC(), time.Unix(1, 0).In(time.FixedZone("", 3600)), time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC),
		none, nobody, []any(nil), map[string]string(nil), map[string]any{}, []any{}, []byte("bytes"), json.RawMessage(` { "a" : [ 1 ] } `), json.RawMessage("no"), own{"x"},
		map[string]any{"b": 1, "a": []any{"x", nil, map[string]string{"z": "<", "y": ""}}, "": map[string]int8{"n": -1}, "ä": own{"q"}},
		map[string]any{"list": []string{"a", "b"}, "raw": json.RawMessage("[ ]"), "bad": json.RawMessage("]")}, map[string]any{"f": func() {}}, []any{make(chan int)},
	} {
		same(t, v)
	}
}

func TestWhatIsReadyGoesInAsItStands(t *testing.T) {
	got, err := Marshal(map[string]any{"a": Ready(`{"b": 1}`)})
	if err != nil || string(got) != `{"a":{"b": 1}}` {
		t.Errorf("got %s, %v", got, err)
	}
	var unsupported *json.UnsupportedTypeError
	if _, err := Marshal([]any{func() {}}); !errors.As(err, &unsupported) {
		t.Errorf("got %v, want an UnsupportedTypeError", err)
	}
}

func TestMembersAreWrittenOnceForSeveralTexts(t *testing.T) {
	m := map[string]any{"b": []any{1, "<"}, "a": map[string]any{"x": nil}, "ä": strings.Repeat("long ", 2000), "": true}
	all, err := Write(make([]byte, 0, 10), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, without := range [][]string{nil, {"a"}, {"ä", "", "none"}, {"a", "b", "ä", ""}} {
		rest := maps.Clone(m)
		for _, name := range without {
			delete(rest, name)
		}
		want, err := json.Marshal(map[string]any{"in": rest})
		got, also := Marshal(map[string]any{"in": all.Without(without...)})
		if err != nil || also != nil || !bytes.Equal(got, want) {
			t.Errorf("without %q:\ngot  %s, %v\nwant %s, %v", without, got, also, want, err)
		}
	}
	if _, err := Write(nil, map[string]any{"f": func() {}}); err == nil {
		t.Error("got no error of what has no JSON")
	}
}

func TestAnObjectIsWrittenAsAStructIs(t *testing.T) {
	type inner struct {
		N int `json:"n"`
	}
	want, err := json.Marshal(struct {
		B string   `json:"b,omitempty"`
		A []string `json:"a,omitempty"`
		I inner    `json:"i"`
		E inner    `json:"e"`
		Z any      `json:"z"`
	}{B: "x\n", A: []string{"<"}, I: inner{1}})
	o := Begin([]byte("before "))
	o.Text("none", "")
	o.Text("b", "x\n")
	o.Texts("no", nil)
	o.Texts("a", []string{"<"})
	o.Inside("i", func(o *Object) { o.Add("n", 1) })
	o.Inside("e", func(o *Object) { o.Add("n", 0) })
	o.Add("z", nil)
	got, also := o.End()
	if err != nil || also != nil || string(got) != "before "+string(want) {
		t.Errorf("got %s, %v, want %s, %v", got, also, want, err)
	}
	o = Begin(nil)
	o.Inside("i", func(o *Object) { o.Add("f", func() {}) })
	o.Text("b", "x")
	if _, err := o.End(); err == nil {
		t.Error("got no error of what has no JSON")
	}
}

// Any JSON that was read is written as encoding/json writes it.
//
//fuzz:parser plainjson.go
func FuzzMarshal(f *testing.F) {
	f.Add([]byte(`{"b":[1,2.5,null,true,"x<\u2028"],"a":{"":"\ud800"}}`))
	f.Add([]byte(`"\u0000\u007fä"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v any
		if json.Unmarshal(text, &v) == nil {
			same(t, v)
		}
	})
}
