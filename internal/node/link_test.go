package node

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/api"
)

func given(t *testing.T, text string) (api.GuestLink, bool, error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, api.LinkFile)
	if err := os.MkdirAll(file, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"size": strconv.Itoa(len(text)), "raw": text} {
		if err := os.WriteFile(filepath.Join(file, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return givenLink(dir)
}

func TestAPlaceOnALinkIsTakenAsItIsGiven(t *testing.T) {
	l, ok, err := given(t, `{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "resolvers": ["10.96.0.10"], "search": ["a.svc", "svc"], "ndots": 5}`)
	if err != nil || !ok {
		t.Fatalf("got %v, %v", ok, err)
	}
	if got, want := string(resolverOf(l)), "nameserver 10.96.0.10\nsearch a.svc svc\noptions ndots:5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok, err := givenLink(t.TempDir()); ok || err != nil {
		t.Errorf("nothing given: got %v, %v, want that DHCP is asked", ok, err)
	}
	for _, bad := range []string{"", "{}", `{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "more": 1}`, strings.Repeat(" ", maxLink+1)} {
		if _, ok, err := given(t, bad); ok || err == nil {
			t.Errorf("%.40q: got %v, %v, want it refused", bad, ok, err)
		}
	}
}
