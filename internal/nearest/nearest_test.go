package nearest

import (
	"slices"
	"testing"
)

func TestTheNameThatWasMeantComesFirst(t *testing.T) {
	have := []string{"packages", "exclude", "users", "groups", "links", "redis-server", "redis-tools", "x"}
	for typed, want := range map[string][]string{
		"pakages":  {"packages"},
		"uesrs":    {"users"},
		"redis":    {"redis-server", "redis-tools"},
		"link":     {"links"},
		"nonsense": nil,
		"":         {"x"},
	} {
		if got := Names(typed, slices.Values(have)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}
