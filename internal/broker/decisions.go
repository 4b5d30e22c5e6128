package broker

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"holdfast/internal/api"
)

// maxDecision bounds what is recorded of one decision: a stranger's document
// may be in it.
const maxDecision = 256 << 10

// recorded is a question as it is kept, so that another policy can be asked the
// same; nil when it is too large. Asked is the question as proofs have it.
func (b *Broker) recorded(q question, asked api.ProofDecision, action, session, tee string) *api.RecordedDecision {
	if len(asked.Input)+len(asked.Data) > maxDecision {
		b.log.Warn("broker: a decision is too large to be recorded for whatif", "session", session)
		return nil
	}
	return &api.RecordedDecision{
		Time: b.cfg.Now().UTC(), Session: session, Action: action, TEE: tee, Kind: q.kind, Policy: q.by.version,
		Input: asked.Input, Data: asked.Data, Allow: q.Allow, Reasons: bounded(q.Reasons),
	}
}

// keepDenial records what a policy denied. The audit log has it anyway, so that
// it cannot be recorded changes no answer.
func (b *Broker) keepDenial(ctx context.Context, q question, claims map[string]any, configuration, session, tee string) {
	action := "attest"
	if q.kind == resourcePolicy {
		action = "get-resource"
	}
	if q.rules == nil || q.Allow { // no policy was asked, or it denied nothing
		return
	}
	q, _, _ = b.narrow(ctx, q, claims, configuration)
	asked, err := q.proof()
	if d := b.recorded(q, asked, action, session, tee); err == nil && d != nil {
		err = b.state.KeepDecision(context.WithoutCancel(ctx), d)
	}
	if err != nil {
		b.log.Error("broker: a decision was not recorded for whatif", "session", session, "error", err)
	}
}

// listDecisions answers lines of JSON, the oldest first.
func (b *Broker) listDecisions(w http.ResponseWriter, r *http.Request, _ string) error {
	filter, err := decisionFilter(r)
	if err != nil {
		return refuse(http.StatusBadRequest, kindSerde, "%w", err)
	}
	begun := false
	for d, err := range b.state.Decisions(r.Context(), filter) {
		if err != nil && !begun {
			return err
		}
		if err != nil { // too late for another answer: the reader sees an end that is none
			panic(http.ErrAbortHandler)
		}
		if !begun {
			w.Header().Set("Content-Type", "application/jsonl")
			begun = true
		}
		if json.NewEncoder(w).Encode(d) != nil {
			return nil // the other side stopped reading
		}
	}
	return nil
}

func decisionFilter(r *http.Request) (f api.DecisionFilter, err error) {
	q := r.URL.Query()
	f.Kind, f.Session = q.Get("kind"), q.Get("session")
	if after := q.Get("after"); after != "" {
		f.After, err = strconv.ParseInt(after, 10, 64)
	}
	return f, err
}
