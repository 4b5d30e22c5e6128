package state

import (
	"context"
	"database/sql"
)

// A tally is at least how many bytes the decisions have that are kept: what
// another process forgets is not taken off. It is guarded by the turn of the
// group of writes.
type tally struct {
	known bool
	last  int64 // the latest decision that is counted
	bytes int64
}

// fit forgets the oldest decisions when all together are too large. An eighth
// goes at once, for to count them all takes long.
func (t *tally) fit(ctx context.Context, tx *sql.Tx, most int64) error {
	was := *t
	t.known = false // until all went well
	var added int64
	if !was.known {
		was = tally{}
	}
	err := tx.QueryRowContext(ctx, "SELECT coalesce(sum(length(record)), 0), coalesce(max(id), ?1) FROM decisions WHERE id > ?1", was.last).Scan(&added, &was.last)
	if err != nil {
		return err
	}
	if was.bytes += added; was.bytes > most {
		if was.bytes, err = cutDecisions(ctx, tx, most); err != nil {
			return err
		}
	}
	*t = tally{known: true, last: was.last, bytes: was.bytes}
	return nil
}

// cutDecisions counts, forgets what is too much, and returns what is left.
func cutDecisions(ctx context.Context, tx *sql.Tx, most int64) (left int64, err error) {
	const count = "SELECT coalesce(sum(length(record)), 0) FROM decisions"
	if err := tx.QueryRowContext(ctx, count).Scan(&left); err != nil || left <= most {
		return left, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM decisions WHERE id <= (SELECT max(id) FROM
		(SELECT id, sum(length(record)) OVER (ORDER BY id DESC) AS from_here FROM decisions) WHERE from_here > ?)`, most-most/8)
	if err == nil {
		err = tx.QueryRowContext(ctx, count).Scan(&left)
	}
	return left, err
}

// size is how much of the decisions a row is.
func (r row) size() int64 {
	if r.table != decisionsTable {
		return 0
	}
	record, _ := r.values[2].([]byte)
	return int64(len(record))
}
