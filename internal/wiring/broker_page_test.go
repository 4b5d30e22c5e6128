package wiring

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/broker/audit"
)

// What is to be seen of a broker is as it is, and holds no value of a resource.
func TestAWatchTellsWhatTheBrokerHasAndNoSecret(t *testing.T) {
	const canary = "canary-of-a-resource"
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := i.Admin(ring)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SetResource(t.Context(), "default/key/x", []byte(canary)); err != nil {
		t.Fatal(err)
	}
	var watch *BrokerWatch
	if _, err := i.ServeBrokerPages(ring, "0.0.0.0:0", nil); err == nil {
		t.Error("pages are served to everybody")
	}
	s, err := i.ServeBrokerPages(ring, "127.0.0.1:0", func(w *BrokerWatch) http.Handler { watch = w; return http.NotFoundHandler() })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var lines []string
	if err := watch.Log(t.Context(), audit.Mark{}, func(line []byte, _ audit.Mark) bool { lines = append(lines, string(line)); return true }); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(lines, "\n"); !strings.Contains(all, "set-resource") || strings.Contains(all, canary) {
		t.Errorf("the log is %q", all)
	}
	if n := strings.Count(strings.Join(lines, "\n"), `"action":"open-page","decision":"allow","actor":"cli","subject":"pages at 127.0.0.1:0"`); n != 1 {
		t.Errorf("that the page was opened is told %d times in %q", n, lines)
	}
	report, err := watch.Verify(t.Context())
	if err != nil || len(report.Problems) > 0 || report.Head.Seq == 0 {
		t.Errorf("got %+v, %v", report, err)
	}
	health, err := watch.Health(t.Context())
	if err != nil || len(health.Problems) > 0 || health.Resources != 1 {
		t.Errorf("got %+v, %v", health, err)
	}
	keys, err := watch.Keys(t.Context())
	if err != nil || len(keys) != 5 {
		t.Errorf("got %+v, %v", keys, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := watch.Log(ended, audit.Mark{}, func([]byte, audit.Mark) bool { return true }); err == nil {
		t.Error("who went away is read to")
	}
	if err := watch.Decisions(t.Context(), []string{"none"}, func(api.RecordedDecision) { t.Error("a decision about nobody") }); err != nil {
		t.Error(err)
	}
}
