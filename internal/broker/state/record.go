package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/plainjson"
)

// KeepAttested keeps what a session proved until its time, and at most most
// such records, the latest; with the decision that it stands on, if one is
// given. Both come to the disk a moment later.
func (s *Store) KeepAttested(ctx context.Context, session string, record []byte, until time.Time, most int, d *api.RecordedDecision) error {
	return s.decided(d, func(decision []byte) error {
		return s.later(ctx, func(b *behind) {
			if d != nil {
				b.keepDecision(d.Session, decision, s.cfg.KeepDecisions, s.cfg.KeepDecisionBytes)
			}
			b.keepAttested(session, record, until.Unix(), most)
		})
	})
}

// Attested returns what a session proved; fs.ErrNotExist when it is not kept.
// Another process may be about to write it, which is waited for.
func (s *Store) Attested(ctx context.Context, session string) ([]byte, error) {
	if record := s.behind.pending(session); record != nil {
		return record, nil
	}
	key := sessionKey(session)
	row, err := one(s.stmts.attested.QueryRowContext(context.WithoutCancel(ctx), key))
	for until := time.Now().Add(2 * behindDelay); errors.Is(err, fs.ErrNotExist) && time.Now().Before(until) && ctx.Err() == nil; {
		time.Sleep(behindDelay / 5)
		row, err = one(s.stmts.attested.QueryRowContext(context.WithoutCancel(ctx), key))
	}
	if err != nil {
		return nil, err
	}
	return recordOf(row, session)
}

// IsAttested tells whether what Attested returned once is still kept.
func (s *Store) IsAttested(ctx context.Context, session string) (bool, error) {
	if s.behind.has(session) {
		return true, nil
	}
	var id int64
	err := s.stmts.kept.QueryRowContext(context.WithoutCancel(ctx), sessionKey(session)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, told(err)
}

// KeepProof keeps a proof, and at most most of them, the latest; with the
// decision that it proves, if one is given.
func (s *Store) KeepProof(ctx context.Context, name string, proof []byte, most int, d *api.RecordedDecision) error {
	var rows []row
	err := s.decided(d, func(decision []byte) error {
		if d != nil {
			rows = []row{{decisionsTable, []any{d.Session, d.Action, s.squeezer.squeeze(decision)}, s.cfg.KeepDecisions}}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d != nil && s.behind.has(d.Session) { // what it stands on comes first
		if err := s.flush(); err != nil {
			return err
		}
	}
	return s.add(ctx, append(rows, row{proofsTable, []any{name, proof}, most})...)
}

func keepProof(ctx context.Context, tx *sql.Tx, name string, proof []byte) error {
	return insert(ctx, tx, nil, []step{{rows: []row{{table: proofsTable, values: []any{name, proof}}}}})
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
	if d == nil {
		return ctx.Err()
	}
	return s.decided(d, func(decision []byte) error {
		return s.later(ctx, func(b *behind) {
			b.keepDecision(d.Session, decision, s.cfg.KeepDecisions, s.cfg.KeepDecisionBytes)
		})
	})
}

// Decisions returns at most most decisions, from the one behind after on.
func (s *Store) Decisions(ctx context.Context, after int64, most int) ([]api.RecordedDecision, error) {
	if err := s.flush(); err != nil {
		return nil, err
	}
	rows, err := s.read.QueryContext(ctx, "SELECT id, held, record FROM decisions WHERE id > ? ORDER BY id LIMIT ?", after, most)
	all := []api.RecordedDecision{}
	_, err = list(rows, err, func(rows *sql.Rows) (none struct{}, err error) {
		if len(all) >= most {
			return none, nil
		}
		return none, eachDecision(rows, func(string) bool { return true }, func(d api.RecordedDecision) {
			if d.ID > after && len(all) < most {
				all = append(all, d)
			}
		})
	})
	return all, err
}

// eachDecision tells of those in a row of ID, how many it holds, and record, that are of
// sessions which somebody asked for.
func eachDecision(rows *sql.Rows, asked func(session string) bool, tell func(api.RecordedDecision)) error {
	var id, held int64
	var row sql.RawBytes
	if err := rows.Scan(&id, &held, &row); err != nil {
		return err
	}
	id -= held
	var bad error
	err := eachBundled(row, func(session string, record []byte) bool {
		id++
		if session != "" && !asked(session) { // one that is alone has no name
			return true
		}
		d := api.RecordedDecision{}
		bad = json.Unmarshal(record, &d)
		d.ID = id
		if bad == nil && asked(d.Session) {
			tell(d)
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		err = fmt.Errorf("decision %d: %w", id, err)
	}
	return err
}

// decided has a decision kept as it is written down; nil when there is none.
func (s *Store) decided(d *api.RecordedDecision, keep func(record []byte) error) error {
	if d == nil {
		return keep(nil)
	}
	room := s.squeezer.room(len(d.Input) + len(d.Data) + 1<<10)
	defer s.squeezer.rooms.Put(room)
	record, err := plainjson.Append(*room, map[string]any{
		"time": d.Time, "session": d.Session, "action": d.Action, "tee": d.TEE, "kind": d.Kind, "policy": d.Policy,
		"input": compact(d.Input), "data": compact(d.Data), "allow": d.Allow, "reasons": d.Reasons, "engine": d.Engine,
	})
	if err != nil {
		return err
	}
	*room = record[:0]
	return keep(record)
}

// compact is JSON that its maker left no space in.
func compact(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	return plainjson.Ready(raw)
}
