package state_test

import (
	"fmt"
	"slices"
	"testing"

	"holdfast/internal/api"
)

func TestDecisionsOfSessionsAreToldInTheirOrder(t *testing.T) {
	s := open(t, t.TempDir())
	for i, session := range []string{"a", "b", "a", "c"} {
		check(t, s.KeepDecision(t.Context(), &api.RecordedDecision{Session: session, Action: fmt.Sprint(i)}))
	}
	for _, test := range []struct{ sessions, want []string }{
		{[]string{"a", "c"}, []string{"1 a 0", "3 a 2", "4 c 3"}}, {[]string{"d", "' OR 1"}, nil}, {nil, nil},
	} {
		var got []string
		check(t, s.DecisionsOf(t.Context(), test.sessions, func(d api.RecordedDecision) {
			got = append(got, fmt.Sprint(d.ID, " ", d.Session, " ", d.Action))
		}))
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.sessions, got, test.want)
		}
	}
	if err := s.DecisionsOf(t.Context(), make([]string, 501), nil); err == nil {
		t.Error("there is no bound")
	}
}
