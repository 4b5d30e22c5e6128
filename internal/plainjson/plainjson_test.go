package plainjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
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
