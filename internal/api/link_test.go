package api

import (
	"encoding/json"
	"testing"
)

func TestALinkSaysNothingButItsPlace(t *testing.T) {
	for text, good := range map[string]bool{
		`{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "resolvers": ["10.96.0.10"], "search": ["default.svc.cluster.local"], "ndots": 5, "mtu": 1450}`: true,
		`{"gateway": "10.1.2.1"}`:                                                                false,
		`{"address": "10.1.2.3/24"}`:                                                             false,
		`{"address": "fd00::1/64", "gateway": "10.1.2.1"}`:                                       false,
		`{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "mtu": 1}`:                            false,
		`{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "ndots": 99}`:                         false,
		`{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "search": ["a\nnameserver 6.6.6.6"]}`: false,
	} {
		var l GuestLink
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(); (err == nil) != good {
			t.Errorf("%s: got %v, want it good: %v", text, err, good)
		}
	}
}
