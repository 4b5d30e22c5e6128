package provision

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/ca"
	"holdfast/internal/wiring"
)

// certified is a machine with a certificate that lives a minute, a service that
// is told of each new one, and a place in a cluster and in a stream.
const certified = `variant: holdfast
version: 1.0.0
identity: {resource: "kbs:///provision/workload/web", owner: "1000", reload: [told.service]}
update: {stream: "registry.example:5000/os/machine:stable", keys: ["sha256:0000000000000000000000000000000000000000000000000000000000000001"]}
cluster: {name: east, endpoint: "https://10.0.2.2:6443", ca: "sha256:0000000000000000000000000000000000000000000000000000000000000002", role: worker}
storage:
  links:
    - {path: /etc/cluster.json, target: /run/machine/cluster.json}
systemd:
  units:
    - name: told.service
      enabled: true
      contents: |
        [Unit]
        ConditionPathExists=/run/machine/update.json
        ConditionPathExists=/run/machine/cluster.json
        ConditionPathExists=/run/identity/svid.pem
        [Service]
        Type=oneshot
        RemainAfterExit=true
        ExecStart=/usr/sbin/mke2fs -q -F /var/started 256k
        ExecReload=/usr/sbin/mke2fs -q -F /var/reloaded 256k
        [Install]
        WantedBy=multi-user.target
`

const watch = `cat /id/svid.pem /id/svid_bundle.pem; before=$(cat /id/svid.pem); ls -lnL /id/svid_key.pem
for i in $(seq 90); do [ "$before" != "$(cat /id/svid.pem)" ] && [ -s /m/var/reloaded ] && break; sleep 1; done
[ "$before" != "$(cat /id/svid.pem)" ] && echo renewed
[ -s /m/var/started ] && [ -s /m/var/reloaded ] && echo reloaded`

func TestAMachineIsCertifiedAndToldOfEachRenewal(t *testing.T) {
	b := needs(t)
	_, err := b.builder.Installation.RotateCA(t.Context(), ca.Rotation{Domain: "machines.test", AtOnce: true, Life: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s := newSubject(t, b, certified)
	r, out := s.boot(watch, func(r *wiring.Run) {
		r.Disks = nil
		r.Mounts = append(r.Mounts, api.Mount{Source: api.IdentityDir, Path: "/id", ReadOnly: true})
	})
	s.good(r)
	for _, want := range []string{"-r-------- ", " 1000 ", "renewed", "reloaded"} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %q\n%s", out, want, s.said.String())
		}
	}
	leaf, bundle := pem.Decode([]byte(out))
	if leaf == nil {
		t.Fatalf("got no certificate\n%s\n%s", out, s.said.String())
	}
	cert, err := x509.ParseCertificate(leaf.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: cert.NotBefore.Add(time.Minute)}); err != nil || cert.URIs[0].String() != "spiffe://machines.test/provision/workload/web" {
		t.Errorf("got %v, %v", cert.URIs, err)
	}
}

// failing has a file whose bytes are not those that the config names.
func failing(file, reports *server) string {
	return "variant: holdfast\nversion: 1.0.0\n" + fmt.Sprintf("report:\n  url: %s\n  ca: |\n%s", reports.url, indent(reports.ca)) + fmt.Sprintf(`ignition:
  security:
    tls:
      certificate_authorities:
        - inline: |
%sstorage:
  files:
    - path: /etc/fetched
      contents:
        source: %s
        verification: {hash: sha256-%064d}
`, strings.ReplaceAll(indent(file.ca), "    ", "            "), file.url, 1)
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

func TestTheNextBootSaysWhyTheOneBeforeFailed(t *testing.T) {
	b := needs(t)
	file, reports := newServer(t, "other bytes\n"), newServer(t, "")
	var got []string
	reports.handle = func(r *http.Request) {
		raw, _ := io.ReadAll(r.Body) // what is missing is missed below
		got = append(got, string(raw))
	}
	s := newSubject(t, b, failing(file, reports))
	none := func(r *wiring.Run) { r.Disks, r.Mounts = nil, nil }
	r, _ := s.boot("true", none)
	s.refused(r, "$.storage.files[0]")
	if len(got) != 1 || !strings.Contains(got[0], `"path": "$.storage.files[0]"`) || !strings.Contains(got[0], `"status": "failed"`) {
		t.Errorf("the URL was told %q", got)
	}
	s.configure("variant: holdfast\nversion: 1.0.0\nstorage:\n  directories:\n    - path: /etc/made\n")
	for boot, want := range []bool{true, false} {
		r, _ = s.boot("true", none)
		s.good(r)
		if said := s.said.String(); strings.Contains(said, "the boot before failed: stage files: $.storage.files[0]: file /etc/fetched") != want {
			t.Errorf("boot %d: got\n%s\nwant the failure in it: %v", boot+2, said, want)
		}
	}
}
