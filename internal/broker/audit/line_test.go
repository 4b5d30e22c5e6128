package audit

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"holdfast/internal/api"
)

// fill gives a field a value that shows in JSON.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *int64:
		*x = 7
	case *string:
		*x = "a <\"text\"> of\nlines"
	case *[]string:
		*x = []string{"one", ""}
	case *time.Time:
		*x = time.Unix(1, 2).UTC()
	case **api.AuditClaims:
		*x = &api.AuditClaims{PCRs: map[string]string{"8": "00", "11": "ff"}, EK: "ek"}
	case *json.RawMessage:
		*x = json.RawMessage(` {"payload" : "" } `)
	default:
		t.Fatalf("%s: the test knows no value", v.Type())
	}
}

// Each member that an entry can have stands in its line as encoding/json writes
// it: alone, with all others, and when none is set.
func TestALineHasEveryMemberOfItsEntry(t *testing.T) {
	same := func(what string, e api.AuditEntry) {
		t.Helper()
		want, err := json.Marshal(e)
		check(t, err)
		got, err := appendEntry(nil, &e)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", what, got, err, want)
		}
	}
	var all api.AuditEntry
	same("none", all)
	same("no claims", api.AuditEntry{Claims: &api.AuditClaims{}})
	for i := range reflect.TypeFor[api.AuditEntry]().NumField() {
		var alone api.AuditEntry
		fill(t, reflect.ValueOf(&alone).Elem().Field(i))
		same(reflect.TypeFor[api.AuditEntry]().Field(i).Name, alone)
		fill(t, reflect.ValueOf(&all).Elem().Field(i))
	}
	same("all", all)
	if n := reflect.TypeFor[api.AuditClaims]().NumField(); n != 2 {
		t.Errorf("claims have %d members, a line 2", n)
	}
}
