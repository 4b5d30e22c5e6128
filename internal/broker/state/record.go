package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"holdfast/internal/api"
)

// KeepAttested keeps what a session proved until its time, and at most most
// such records, the latest; with the decision that it stands on, if one is
// given.
func (s *Store) KeepAttested(ctx context.Context, session string, record []byte, until time.Time, most int, d *api.RecordedDecision) error {
	now := s.cfg.Now().Unix()
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := keepAttested(ctx, tx, session, record, until.Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM attested WHERE until < ? OR id <= (SELECT max(id) FROM attested) - ?", now, most)
		if err != nil {
			return err
		}
		return s.decide(ctx, tx, d)
	})
}

func keepAttested(ctx context.Context, tx *sql.Tx, session string, record []byte, until int64) error {
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO attested (session, until, record) VALUES (?, ?, ?)", session, until, record)
	return err
}

// Attested returns what a session proved; fs.ErrNotExist when it is not kept.
func (s *Store) Attested(ctx context.Context, session string) ([]byte, error) {
	return one(s.stmts.attested.QueryRowContext(context.WithoutCancel(ctx), session))
}

// KeepProof keeps a proof, and at most most of them, the latest; with the
// decision that it proves, if one is given.
func (s *Store) KeepProof(ctx context.Context, name string, proof []byte, most int, d *api.RecordedDecision) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := keepProof(ctx, tx, name, proof); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM proofs WHERE id <= (SELECT max(id) FROM proofs) - ?", most); err != nil {
			return err
		}
		return s.decide(ctx, tx, d)
	})
}

func keepProof(ctx context.Context, tx *sql.Tx, name string, proof []byte) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO proofs (name, proof) VALUES (?, ?)", name, proof)
	return err
}

// Proof returns a proof; fs.ErrNotExist when it is not kept.
func (s *Store) Proof(ctx context.Context, name string) ([]byte, error) {
	return one(s.read.QueryRowContext(ctx, "SELECT proof FROM proofs WHERE name = ?", name))
}

// Proofs lists the names of the proofs that are kept, the oldest first.
func (s *Store) Proofs(ctx context.Context) ([]string, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT name FROM proofs ORDER BY id")
	return list(rows, err, text)
}

// DropProof takes a proof back; fs.ErrNotExist when there is none.
func (s *Store) DropProof(ctx context.Context, name string) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return removed(tx.ExecContext(ctx, "DELETE FROM proofs WHERE name = ?", name))
	})
}

// KeepDecision keeps a decision that comes with no other record.
func (s *Store) KeepDecision(ctx context.Context, d *api.RecordedDecision) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error { return s.decide(ctx, tx, d) })
}

// Decisions returns at most most decisions, from the one behind after on.
func (s *Store) Decisions(ctx context.Context, after int64, most int) ([]api.RecordedDecision, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, record FROM decisions WHERE id > ? ORDER BY id LIMIT ?", after, most)
	return list(rows, err, func(rows *sql.Rows) (d api.RecordedDecision, err error) {
		var id int64
		var record []byte
		if err = rows.Scan(&id, &record); err == nil {
			err = json.Unmarshal(record, &d)
		}
		d.ID = id
		return d, err
	})
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
	if _, err := tx.ExecContext(ctx, "INSERT INTO decisions (session, action, record) VALUES (?, ?, ?)", d.Session, d.Action, record); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", s.cfg.KeepDecisions)
	return err
}
