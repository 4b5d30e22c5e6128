package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"iter"

	"holdfast/internal/api"
)

// KeepDecision writes a decision down that comes with no other record.
func (s *Store) KeepDecision(ctx context.Context, d *api.RecordedDecision) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error { return s.decide(ctx, tx, d) })
}

// decide writes a decision down, and forgets the oldest when there are too many.
func (s *Store) decide(ctx context.Context, tx *sql.Tx, d *api.RecordedDecision) error {
	if d == nil {
		return nil
	}
	record, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO decisions (session, kind, record) VALUES (?, ?, ?)", d.Session, d.Kind, record); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", s.cfg.KeepDecisions)
	return err
}

// decisionPage is how many decisions are read at once: whoever takes his time
// with them holds nobody up.
const decisionPage = 100

// Decisions reads those that are kept, the oldest first.
func (s *Store) Decisions(ctx context.Context, f api.DecisionFilter) iter.Seq2[api.RecordedDecision, error] {
	return func(yield func(api.RecordedDecision, error) bool) {
		for more := true; more; {
			page, err := s.decisions(ctx, f)
			if err != nil {
				yield(api.RecordedDecision{}, err)
				return
			}
			for _, d := range page {
				if !yield(d, nil) {
					return
				}
				f.After = d.ID
			}
			more = len(page) == decisionPage
		}
	}
}

func (s *Store) decisions(ctx context.Context, f api.DecisionFilter) ([]api.RecordedDecision, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, record FROM decisions
		WHERE id > ?1 AND (?2 = '' OR kind = ?2) AND (?3 = '' OR session = ?3) ORDER BY id LIMIT ?4`, f.After, f.Kind, f.Session, decisionPage)
	return list(rows, err, func(rows *sql.Rows) (d api.RecordedDecision, err error) {
		var id int64
		var raw []byte
		if err = rows.Scan(&id, &raw); err == nil {
			err = json.Unmarshal(raw, &d)
		}
		d.ID = id
		return d, err
	})
}
