package access

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"
)

func TestATokenForManyRepositoriesTakesNoMemory(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMint(key, "registry", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var scopes []scope
	for i := range 100 {
		scopes = append(scopes, scope{Type: "repository", Name: fmt.Sprintf("some/team/repository-%d", i), Actions: []string{"pull"}})
	}
	for n, want := range map[int]int{100: 0, 2: 1} {
		clear(m.seen)
		token, err := m.issue(claims{Use: useAccess, Access: scopes[:n]}, accessLife)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := m.verify(token, useAccess); err != nil || len(c.Access) != n || len(m.seen) != want {
			t.Errorf("token for %d repositories, %d bytes: %v; %d are remembered, want %d", n, len(token), err, len(m.seen), want)
		}
	}
}
