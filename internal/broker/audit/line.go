package audit

import (
	"holdfast/internal/api"
	"holdfast/internal/plainjson"
)

// appendEntry is encoding/json's text of e, without reflection: each decision
// waits for its line.
func appendEntry(text []byte, e *api.AuditEntry) ([]byte, error) {
	o := plainjson.Begin(text)
	if e.Seq != 0 {
		o.Add("seq", e.Seq)
	}
	o.Text("prev", e.Prev)
	o.Add("time", e.Time)
	o.Add("action", e.Action)
	o.Add("decision", e.Decision)
	o.Texts("reasons", e.Reasons)
	o.Text("session", e.Session)
	o.Text("peer", e.Peer)
	o.Text("actor", e.Actor)
	o.Text("offered_ek", e.Offered)
	if e.Claims != nil {
		o.Inside("claims", func(o *plainjson.Object) {
			o.Add("pcrs", e.Claims.PCRs)
			o.Add("ek", e.Claims.EK)
		})
	}
	o.Texts("devices", e.Devices)
	o.Text("warning", e.Warning)
	o.Text("init_data", e.InitData)
	o.Text("image", e.Image)
	o.Text("subject", e.Subject)
	o.Text("resource", e.Resource)
	o.Texts("resources", e.Resources)
	o.Text("value", e.Value)
	o.Text("proof", e.Proof)
	if len(e.Checkpoint) > 0 {
		o.Add("checkpoint", e.Checkpoint)
	}
	return o.End()
}
