package wiring

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/audit"
	"holdfast/internal/broker/roles"
	"holdfast/internal/keys"
)

// remote serves a broker, and watches it as an auditor who has no installation.
func remote(t *testing.T) (*RemoteWatch, *admin.Client) {
	t.Helper()
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := Deputy{Key: t.TempDir() + "/anna.pem", Role: roles.Auditor, Root: t.TempDir() + "/root.crt"}
	if err := i.AddAdministrator(roles.Administrator{Name: "anna", Roles: []string{roles.Auditor}}, d.Key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Root, ring.CertificatePEM(keys.Root), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	owner, err := i.RemoteAdmin(ring, s.BrokerURL())
	if err != nil {
		t.Fatal(err)
	}
	anna, err := d.Remote(s.BrokerURL())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := d.RootPool()
	if err != nil {
		t.Fatal(err)
	}
	w, err := WatchRemote(anna, roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, owner
}

func TestABrokerElsewhereIsSeenByItsAPI(t *testing.T) {
	w, owner := remote(t)
	for n := range 3 {
		if err := owner.SetResource(t.Context(), "default/key/"+string(rune('a'+n)), []byte("canary-of-a-resource")); err != nil {
			t.Fatal(err)
		}
		w.at = time.Time{} // as if some seconds later
		var subjects []string
		if err := w.Log(t.Context(), audit.Mark{}, func(line []byte, _ audit.Mark) bool {
			subjects = append(subjects, string(line))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(subjects, "\n"); strings.Count(all, "set-resource") != n+1 || strings.Contains(all, "canary") {
			t.Errorf("after %d resources the log is %q", n+1, subjects)
		}
	}
	report, err := w.Verify(t.Context())
	if err != nil || len(report.Problems) > 0 || report.Head.Seq == 0 {
		t.Errorf("got %+v, %v", report, err)
	}
	health, err := w.Health(t.Context())
	if err != nil || len(health.Problems) > 0 || health.Resources != 3 || health.LogSize == 0 {
		t.Errorf("got %+v, %v", health, err)
	}
	facts, err := w.Keys(t.Context())
	if err != nil || len(facts) != 1 || facts[0].Until.IsZero() {
		t.Errorf("got %+v, %v", facts, err)
	}
	if err := w.Decisions(t.Context(), []string{"none", "' OR 1"}, func(api.RecordedDecision) { t.Error("a decision about nobody") }); err != nil {
		t.Error(err)
	}
}

func TestPagesAboutABrokerElsewhereOnlyRead(t *testing.T) {
	w, _ := remote(t)
	if err := w.SetResource(t.Context(), "default/key/x", []byte("x")); err == nil || !strings.Contains(err.Error(), "pages only read") {
		t.Errorf("got %v, want it not sent", err)
	}
	if _, err := ServeRemotePages(w, "0.0.0.0:0", http.NotFoundHandler()); err == nil {
		t.Error("pages are served to everybody")
	}
}

// A broker that was set back has a shorter log: what was read before is not
// shown any more.
func TestALogThatWasSetBackIsReadAnew(t *testing.T) {
	w, owner := remote(t)
	if err := owner.SetResource(t.Context(), "default/key/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.copy(), []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	w.size = 1 << 20
	report, err := w.Verify(t.Context())
	if err != nil || len(report.Problems) > 0 || report.Lines == 0 {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestALogWithoutAnEndIsNotRead(t *testing.T) {
	w, owner := remote(t)
	for range 3 {
		if err := owner.SetResource(t.Context(), "default/key/x", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	w.most = 600
	for range 2 {
		if _, err := w.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "600 bytes or more") {
			t.Errorf("got %v", err)
		}
	}
	if info, err := os.Stat(w.copy()); err != nil || info.Size() > 600 {
		t.Errorf("the copy: %v, %v", info, err)
	}
}
