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
	d, err := q.proof(nil)
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

// mostSessions bounds one question: what is kept of each is looked through.
const mostSessions = 50

// listDecisions is GET /kbs/v0/holdfast/decisions?after=ID&most=N, and with
// &session=ID, which may be repeated, those about these alone.
func (b *Broker) listDecisions(w http.ResponseWriter, r *http.Request, _ string) error {
	after, err := number(r, "after", 0)
	if err != nil {
		return err
	}
	most, err := number(r, "most", mostDecisions)
	if err != nil {
		return err
	}
	sessions := r.URL.Query()["session"]
	if len(sessions) > mostSessions {
		return refuse(http.StatusBadRequest, kindSerde, "decisions of %d sessions at once: at most %d", len(sessions), mostSessions)
	}
	list, err := b.decisions(r.Context(), sessions, after, int(min(most, mostDecisions)))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (b *Broker) decisions(ctx context.Context, sessions []string, after int64, most int) ([]api.RecordedDecision, error) {
	if len(sessions) == 0 {
		return b.state.Decisions(ctx, after, most)
	}
	list := []api.RecordedDecision{}
	err := b.state.DecisionsOf(ctx, sessions, func(d api.RecordedDecision) {
		if d.ID > after && len(list) < most {
			list = append(list, d)
		}
	})
	return list, err
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
