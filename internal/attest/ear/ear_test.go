package ear

import "testing"

func TestStatusIsTheWorstTier(t *testing.T) {
	for want, trust := range map[string]map[string]int8{
		"none":            nil,
		"affirming":       {"hardware": 2, "executables": 31, "file-system": -2},
		"warning":         {"hardware": 2, "executables": 33},
		"contraindicated": {"hardware": 97, "executables": 33, "configuration": 2},
	} {
		if got := status(trust); got != want {
			t.Errorf("%v: got %s, want %s", trust, got, want)
		}
	}
	if got := status(map[string]int8{"sourced-data": -128}); got != "contraindicated" {
		t.Errorf("-128: got %s", got)
	}
}
