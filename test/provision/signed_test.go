package provision

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/ignition/admit"
	"holdfast/internal/keys"
	"holdfast/internal/sign"
	"holdfast/internal/wiring"
)

// merging believes a key, and merges what a server sends.
func merging(key string, s *server) string {
	return "variant: holdfast\nversion: 1.0.0\nconfig:\n  key: |-\n" + indent(key+"\n") + fmt.Sprintf(`ignition:
  security:
    tls:
      certificate_authorities:
        - inline: |
%s  config:
    merge: [{source: "%s"}]
`, strings.ReplaceAll(indent(s.ca), "    ", "            "), s.url)
}

func TestAMachineTakesOnlyConfigsThatItsKeySigned(t *testing.T) {
	b := needs(t)
	const more = `{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/etc/more","contents":{"source":"data:,made%20good%0A"}}]}}`
	signed, err := admit.Sign([]byte(more), "more", b.ring.Statements())
	if err != nil {
		t.Fatal(err)
	}
	id := "sha256:" + sign.KeyID(b.ring.Statements().Certificate)
	root := string(b.ring.CertificatePEM(keys.Root))
	good, bad := newServer(t, string(signed)), newServer(t, more)
	none := func(r *wiring.Run) { r.Disks = nil }
	for name, key := range map[string]string{"a key": id, "those that a root certifies": root} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t, b, merging(key, good))
			r, out := s.boot("cat /m/etc/more", none)
			s.good(r)
			if !strings.Contains(out, "made good") {
				t.Errorf("got %q\n%s", out, s.said.String())
			}
		})
	}
	s := newSubject(t, b, merging(id, bad))
	r, _ := s.boot("true", none)
	s.refused(r, "the config is refused", bad.url, "nobody signed it")
}
