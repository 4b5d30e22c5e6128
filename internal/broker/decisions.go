package broker

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"holdfast/internal/api"
)

// recorded is the question as decisions are kept, so that another policy can
// be asked the same.
func (q question) recorded(d api.ProofDecision, action, session, tee string, at time.Time) *api.RecordedDecision {
	return &api.RecordedDecision{Time: at, Session: session, Action: action, TEE: tee, Kind: q.kind, Policy: q.by.version,
		Input: d.Input, Data: d.Data, Allow: q.Allow, Reasons: q.Reasons, Engine: q.by.engine}
}

// keepDecision keeps one that leaves no other record. That it cannot be kept
// changes nothing of it: the audit log is what must not miss it.
func (b *Broker) keepDecision(ctx context.Context, q question, action, session, tee string) {
	d, err := q.proof()
	if err == nil && len(d.Input)+len(d.Data) > maxDecision {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = b.state.KeepDecision(context.WithoutCancel(ctx), q.recorded(d, action, session, tee, b.cfg.Now().UTC()))
	}
	if err != nil {
		b.log.Error("broker: a decision is not kept for whatif", "action", action, "session", session, "error", err)
	}
}

// maxDecision bounds what a denial leaves: a stranger's document is in it.
const maxDecision = 256 << 10

// mostDecisions bounds one answer: each is some kilobytes.
const mostDecisions = 20

// listDecisions is GET /kbs/v0/holdfast/decisions?after=ID&most=N.
func (b *Broker) listDecisions(w http.ResponseWriter, r *http.Request, _ string) error {
	after, err := number(r, "after", 0)
	if err != nil {
		return err
	}
	most, err := number(r, "most", mostDecisions)
	if err != nil {
		return err
	}
	list, err := b.state.Decisions(r.Context(), after, int(min(most, mostDecisions)))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func number(r *http.Request, name string, absent int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, refuse(http.StatusBadRequest, kindSerde, "%s: %.40q: expected a number", name, text)
	}
	return n, nil
}
