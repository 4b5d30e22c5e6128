package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/plainjson"
)

// KeepAttested keeps what a session proved until its time, and at most most
// such records, the latest; with the decision that it stands on, if one is
// given. Both come to the disk a moment later.
func (s *Store) KeepAttested(ctx context.Context, session string, record []byte, until time.Time, most int, d *api.RecordedDecision) error {
	rows, err := s.decided(d)
	if err != nil {
		return err
	}
	return s.later(ctx, append(rows, row{attestedTable, []any{session, until.Unix(), s.squeezer.squeeze(record)}, most})...)
}

func keepAttested(ctx context.Context, tx *sql.Tx, session string, record []byte, until int64) error {
	return insert(ctx, tx, []step{{rows: []row{{table: attestedTable, values: []any{session, until, record}}}}})
}

// Attested returns what a session proved; fs.ErrNotExist when it is not kept.
// Another process may be about to write it, which is waited for.
func (s *Store) Attested(ctx context.Context, session string) ([]byte, error) {
	if record := s.behind.pending(session); record != nil {
		return stretch(record)
	}
	record, err := one(s.stmts.attested.QueryRowContext(context.WithoutCancel(ctx), session))
	for until := time.Now().Add(2 * behindDelay); errors.Is(err, fs.ErrNotExist) && time.Now().Before(until) && ctx.Err() == nil; {
		time.Sleep(behindDelay / 5)
		record, err = one(s.stmts.attested.QueryRowContext(context.WithoutCancel(ctx), session))
	}
	if err != nil {
		return nil, err
	}
	return stretch(record)
}

// KeepProof keeps a proof, and at most most of them, the latest; with the
// decision that it proves, if one is given.
func (s *Store) KeepProof(ctx context.Context, name string, proof []byte, most int, d *api.RecordedDecision) error {
	rows, err := s.decided(d)
	if err != nil {
		return err
	}
	if d != nil && s.behind.pending(d.Session) != nil { // what it stands on comes first
		if err := s.flush(); err != nil {
			return err
		}
	}
	return s.add(ctx, append(rows, row{proofsTable, []any{name, proof}, most})...)
}

func keepProof(ctx context.Context, tx *sql.Tx, name string, proof []byte) error {
	return insert(ctx, tx, []step{{rows: []row{{table: proofsTable, values: []any{name, proof}}}}})
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

// KeepDecision keeps a decision that comes with no other record. It comes to
// the disk a moment later.
func (s *Store) KeepDecision(ctx context.Context, d *api.RecordedDecision) error {
	rows, err := s.decided(d)
	if err != nil {
		return err
	}
	return s.later(ctx, rows...)
}

// Decisions returns at most most decisions, from the one behind after on.
func (s *Store) Decisions(ctx context.Context, after int64, most int) ([]api.RecordedDecision, error) {
	if err := s.flush(); err != nil {
		return nil, err
	}
	rows, err := s.read.QueryContext(ctx, "SELECT id, record FROM decisions WHERE id > ? ORDER BY id LIMIT ?", after, most)
	return list(rows, err, func(rows *sql.Rows) (d api.RecordedDecision, err error) {
		var id int64
		var record []byte
		if err = rows.Scan(&id, &record); err == nil {
			err = readDecision(record, &d)
		}
		d.ID = id
		return d, err
	})
}

// decided is a decision as it is written down.
func (s *Store) decided(d *api.RecordedDecision) ([]row, error) {
	if d == nil {
		return nil, nil
	}
	record, err := s.squeezer.squeezeJSON(map[string]any{
		"time": d.Time, "session": d.Session, "action": d.Action, "tee": d.TEE, "kind": d.Kind, "policy": d.Policy,
		"input": compact(d.Input), "data": compact(d.Data), "allow": d.Allow, "reasons": d.Reasons, "engine": d.Engine,
	}, len(d.Input)+len(d.Data)+1<<10)
	return []row{{decisionsTable, []any{d.Session, d.Action, record}, s.cfg.KeepDecisions}}, err
}

func readDecision(kept []byte, d *api.RecordedDecision) error {
	record, err := stretch(kept)
	if err != nil {
		return err
	}
	return json.Unmarshal(record, d)
}

// compact is JSON that its maker left no space in.
func compact(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	return plainjson.Ready(raw)
}
