package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/pnet"
)

func TestASwarmKeyIsMadeOnceForItsOwnerOnly(t *testing.T) {
	r := newRing(t)
	first, err := r.Swarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.Swarm(t.Context()); err != nil || again != first {
		t.Errorf("the key changed, or %v", err)
	}
	info, err := os.Stat(filepath.Join(r.Dir(), SwarmFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v and %v, want 600", info.Mode(), err)
	}
	if said := fmt.Sprintf("%v %s %+v", first, first, first); strings.Contains(said, fmt.Sprintf("%x", first[:4])) {
		t.Error("the key shows in a message")
	}
}

func TestASwarmKeyIsReplacedOnlyWhenAsked(t *testing.T) {
	r, other := newRing(t), SwarmKey{1}
	mine, err := r.Swarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.JoinSwarm(t.Context(), other, false); !errors.Is(err, ErrOtherSwarm) {
		t.Errorf("got %v, want ErrOtherSwarm", err)
	}
	if err := r.JoinSwarm(t.Context(), mine, false); err != nil {
		t.Error(err)
	}
	if err := r.JoinSwarm(t.Context(), other, true); err != nil {
		t.Error(err)
	}
	if got, err := r.Swarm(t.Context()); err != nil || got != other {
		t.Errorf("still the old key, or %v", err)
	}
}

func TestSwarmKeysAreReadAsLibp2pReadsThem(t *testing.T) {
	want := SwarmKey(bytes.Repeat([]byte("k"), 32))
	for name, raw := range map[string]string{
		"hex":     string(want.Marshal()),
		"base64":  swarmHeader + "\n" + swarmBase64 + "\na2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\n",
		"bytes":   swarmHeader + "\n" + swarmRaw + "\n" + strings.Repeat("k", 32),
		"windows": swarmHeader + "\r\n" + swarmHex + "\r\n" + strings.Repeat("6b", 32) + "\r\n",
	} {
		theirs, err := pnet.DecodeV1PSK(strings.NewReader(raw))
		if err != nil || !bytes.Equal(theirs, want[:]) {
			t.Fatalf("%s: libp2p reads %x, %v", name, theirs, err)
		}
		if got, err := ParseSwarmKey([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, raw := range []string{"", "secret", swarmHeader, swarmHeader + "\n/base16/\n6b6b", swarmHeader + "\n/base58/\n" + strings.Repeat("6b", 32)} {
		if _, err := ParseSwarmKey([]byte(raw)); err == nil || strings.Contains(err.Error(), "6b6b") {
			t.Errorf("%q: got %v, want a refusal that does not repeat it", raw, err)
		}
	}
}

// What is read as a key is written as the same key, for libp2p, too.
//
//fuzz:parser swarm.go:ParseSwarmKey,Marshal
func FuzzParseSwarmKey(f *testing.F) {
	f.Add(SwarmKey{7}.Marshal())
	f.Add([]byte(swarmHeader + "\n" + swarmBase64 + "\na2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="))
	f.Fuzz(func(t *testing.T, raw []byte) {
		key, err := ParseSwarmKey(raw)
		if err != nil {
			return
		}
		if theirs, err := pnet.DecodeV1PSK(bytes.NewReader(key.Marshal())); err != nil || !bytes.Equal(theirs, key[:]) {
			t.Errorf("libp2p reads %x, %v", theirs, err)
		}
	})
}
