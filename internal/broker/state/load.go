package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"strings"
)

// The number of a bundle is that of its last record, so that so many numbers
// are so many records.

// insertLoad writes what handshakes left.
func (s *Store) insertLoad(ctx context.Context, tx *sql.Tx, by *loading, l *load) error {
	if err := s.insertDecisions(ctx, tx, by, l.decisions); err != nil {
		return err
	}
	return s.insertAttested(ctx, tx, by, l.attested)
}

func (s *Store) insertDecisions(ctx context.Context, tx *sql.Tx, by *loading, all []*bundle) error {
	if len(all) == 0 {
		return nil
	}
	number, err := by.lastOf(ctx, tx, "decisions")
	for _, b := range all {
		number += int64(len(b.names))
		err = exec(ctx, tx, err, by.decisions, number, strings.Join(b.names, " "), "", len(b.names), s.squeezer.bundle(b))
	}
	return err
}

func (s *Store) insertAttested(ctx context.Context, tx *sql.Tx, by *loading, all []*bundle) error {
	if len(all) == 0 {
		return nil
	}
	number, err := by.lastOf(ctx, tx, "attested")
	for _, b := range all {
		number += int64(len(b.names))
		var keys []byte
		found := make([]any, 0, 2*len(b.names))
		for _, name := range b.names {
			key := sessionKey(name)
			keys, found = binary.BigEndian.AppendUint64(keys, uint64(key)), append(found, key, number)
		}
		err = exec(ctx, tx, err, by.bundles, number, b.until, keys, s.squeezer.bundle(b))
		if len(b.names) == together {
			err = exec(ctx, tx, err, by.bundled, found...)
			continue
		}
		for ; len(found) > 0 && err == nil; found = found[2:] {
			_, err = tx.ExecContext(ctx, foundIn+" VALUES (?, ?)", found[:2]...)
		}
	}
	return err
}

// Statements of loads.
const (
	intoDecisions = "INSERT INTO decisions (id, session, action, held, record) VALUES (?, ?, ?, ?, ?)"
	intoAttested  = "INSERT INTO attested (id, until, sessions, records) VALUES (?, ?, ?, ?)"
	foundIn       = "INSERT OR REPLACE INTO attested_in (session, bundle)"
	lastOf        = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?"
)

// exec makes a prepared statement, unless an error came before.
func exec(ctx context.Context, tx *sql.Tx, err error, stmt *sql.Stmt, values ...any) error {
	if err == nil {
		_, err = tx.StmtContext(ctx, stmt).ExecContext(ctx, values...)
	}
	return err
}

// lastOf is the highest number that was ever given in a table.
func (l *loading) lastOf(ctx context.Context, tx *sql.Tx, table string) (n int64, err error) {
	err = tx.StmtContext(ctx, l.last).QueryRowContext(ctx, table).Scan(&n)
	return n, err
}

// sessionKey stands for a session's name where bundles are looked up.
func sessionKey(session string) int64 {
	sum := sha256.Sum256([]byte(session))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// trimAttested forgets bundles whose time is over, the oldest first, and what is
// behind the latest most records.
func trimAttested(ctx context.Context, tx *sql.Tx, most int, now int64) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, sessions FROM attested WHERE until < ? OR id <= (SELECT max(id) FROM attested) - ? ORDER BY id`, now, most)
	type old struct {
		id   int64
		keys []byte
	}
	all, err := list(rows, err, func(rows *sql.Rows) (o old, err error) { return o, rows.Scan(&o.id, &o.keys) })
	for _, o := range all {
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM attested WHERE id = ?", o.id)
		}
		for keys := o.keys; len(keys) >= 8 && err == nil; keys = keys[8:] {
			_, err = tx.ExecContext(ctx, "DELETE FROM attested_in WHERE session = ? AND bundle = ?", int64(binary.BigEndian.Uint64(keys)), o.id)
		}
	}
	return err
}
