package broker

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"holdfast/internal/api"
)

// counters is what /metrics shows: enough to see a broker that refuses.
type counters struct {
	auth, attests, allowed, refused, released, denied atomic.Int64
}

func (c *counters) decision(e api.AuditEntry) {
	switch {
	case e.Action == "attest" && e.Decision == api.AuditAllow:
		c.allowed.Add(1)
	case e.Action == "attest":
		c.refused.Add(1)
	case e.Action == "get-resource" && e.Decision == api.AuditAllow:
		c.released.Add(1)
	case e.Action == "get-resource":
		c.denied.Add(1)
	}
}

// getMetrics writes the Prometheus text format. Trustee's names
// (kbs/src/prometheus/mod.rs) stand beside ours, so that its dashboards serve.
func (b *Broker) getMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for _, line := range []struct {
		name  string
		value int64
	}{
		{"holdfast_broker_handshakes_total", b.counts.auth.Load()},
		{"holdfast_broker_attestations_allowed_total", b.counts.allowed.Load()},
		{"holdfast_broker_attestations_refused_total", b.counts.refused.Load()},
		{"holdfast_broker_resources_released_total", b.counts.released.Load()},
		{"holdfast_broker_resources_denied_total", b.counts.denied.Load()},
		{"kbs_auth_requests_total", b.counts.auth.Load()},
		{"kbs_attestation_requests_total", b.counts.attests.Load()},
		{"kbs_attestation_successes_total", b.counts.allowed.Load()},
		{"kbs_attestation_failures_total", b.counts.refused.Load()},
		{"kbs_policy_approvals_total", b.counts.released.Load()},
		{"kbs_policy_violations_total", b.counts.denied.Load()},
		{"kbs_resource_reads_total", b.counts.released.Load()},
	} {
		_, _ = fmt.Fprintf(w, "# TYPE %s counter\n%s %d\n", line.name, line.name, line.value)
	}
}
