package peer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	someone  = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV"
	other    = "/dns4/node.example/tcp/4001/p2p/12D3KooWA7DMNtEDL8QU8mRDN38wfC4idpfU4M1b5bD2Pmnb4oiP"
	someID   = "12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV"
	comments = "# the cellar\n" + someone + " # its first address\n\n"
)

func TestAListKeepsWhatAPersonWroteInIt(t *testing.T) {
	l := List(filepath.Join(t.TempDir(), "peers"))
	if list, err := l.Read(); err != nil || len(list) != 0 {
		t.Fatalf("got %v and %v of no file", list, err)
	}
	if err := os.WriteFile(string(l), []byte(strings.TrimSuffix(comments, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Add(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := l.Read(); err != nil || !slices.Equal(list, []string{someone, other}) {
		t.Errorf("got %v and %v", list, err)
	}
	if err := l.Remove(t.Context(), someID); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(t.Context(), someID); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("got %v, want ErrUnknownPeer", err)
	}
	raw, err := os.ReadFile(string(l))
	if err != nil || string(raw) != "# the cellar\n"+other+"\n" {
		t.Errorf("the file is %q, %v", raw, err)
	}
	for _, bad := range []string{"", "cellar", "/ip4/192.0.2.7/tcp/4001", "/p2p/" + someID} {
		if err := l.Add(t.Context(), bad); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: got %v, want ErrAddress", bad, err)
		}
	}
}

// A list that is read holds addresses only, each of which can be read alone.
//
//fuzz:parser list.go:parseList keep.go:ParseAddress
func FuzzParseList(f *testing.F) {
	f.Add([]byte(comments + other))
	f.Add([]byte("/ip4/1.2.3.4/udp/1/quic-v1/p2p/" + someID + "\r\n#"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseList(raw)
		if err != nil {
			return
		}
		for _, address := range list {
			if info, err := ParseAddress(address); err != nil || info.ID == "" || len(info.Addrs) == 0 {
				t.Errorf("%q: %v, %v", address, info, err)
			}
		}
	})
}

func TestANodeListensWhereItIsTold(t *testing.T) {
	for address, want := range map[string]string{
		"":               "",
		"127.0.0.1:4001": "/ip4/127.0.0.1/tcp/4001",
		"localhost:0":    "/ip4/127.0.0.1/tcp/0",
		"[::1]:4001":     "/ip6/::1/tcp/4001",
		":4001":          "/ip4/0.0.0.0/tcp/4001 /ip6/::/tcp/4001",
	} {
		if got, err := ListenAddresses(address, PrivateSwarm); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: got %v and %v, want %s", address, got, err, want)
		}
	}
	got, err := ListenAddresses("192.0.2.7:1", PublicSwarm)
	if err != nil || !slices.Equal(got, []string{"/ip4/192.0.2.7/tcp/1", "/ip4/192.0.2.7/udp/1/quic-v1"}) {
		t.Errorf("got %v and %v", got, err)
	}
	for _, bad := range []string{"4001", "host.example:1", "127.0.0.1:70000", "127.0.0.1:"} {
		if got, err := ListenAddresses(bad, PrivateSwarm); err == nil {
			t.Errorf("%q: got %v", bad, got)
		}
	}
}
