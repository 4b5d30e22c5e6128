package state

import (
	"context"
	"database/sql"
	"strings"
)

// A table takes rows of several callers in one statement: to read the statement
// takes SQLite longer than to insert a row.
type table struct {
	into, row, clash string
}

var (
	attestedTable  = &table{"INSERT OR REPLACE INTO attested (session, until, record)", "(?, ?, ?)", ""}
	proofsTable    = &table{"INSERT INTO proofs (name, proof)", "(?, ?)", ""}
	decisionsTable = &table{"INSERT INTO decisions (session, action, record)", "(?, ?, ?)", ""}
	notesTable     = &table{"INSERT INTO notes (name, value)", "(?, ?)", " ON CONFLICT DO UPDATE SET value = excluded.value"}

	tables = []*table{attestedTable, proofsTable, decisionsTable, notesTable}
)

// A row is to be inserted. Of its table, only the latest most rows are kept,
// unless that is 0.
type row struct {
	table  *table
	values []any
	most   int
}

// maxRows bounds one statement: SQLite takes 32766 values.
const maxRows = 1000

// insert inserts the rows of all.
func insert(ctx context.Context, tx *sql.Tx, all []step) error {
	for _, t := range tables {
		n, values := 0, []any(nil)
		for _, c := range all {
			for _, r := range c.rows {
				if r.table == t {
					n, values = n+1, append(values, r.values...)
				}
			}
		}
		for width := len(values) / max(n, 1); n > 0; {
			few := min(n, maxRows)
			query := t.into + " VALUES " + t.row + strings.Repeat(", "+t.row, few-1) + t.clash
			if _, err := tx.ExecContext(ctx, query, values[:few*width]...); err != nil {
				return err
			}
			n, values = n-few, values[few*width:]
		}
	}
	return nil
}

// A trimmer knows what was added to each table since it was cut to size. It is
// guarded by the turn of the group of writes.
type trimmer map[*table]trimmed

type trimmed struct {
	added int
	bytes int64 // of decisions
	at    int64 // Unix seconds
}

// trim forgets the oldest rows where there are too many, or too much: once in a
// second, or when a hundredth more is there than should be.
func (s *Store) trim(ctx context.Context, tx *sql.Tx, all []step) error {
	most := map[*table]int{}
	for _, c := range all {
		for _, r := range c.rows {
			if r.most > 0 {
				most[r.table] = r.most
				last := s.trimmed[r.table]
				s.trimmed[r.table] = trimmed{last.added + 1, last.bytes + r.size(), last.at}
			}
		}
	}
	now := s.cfg.Now().Unix()
	for t, most := range most {
		if last := s.trimmed[t]; last.added <= most/100 && last.bytes <= s.cfg.KeepDecisionBytes/100 && now == last.at {
			continue
		}
		if err := t.trim(ctx, tx, most, now); err != nil {
			return err
		}
		if t == decisionsTable {
			if err := s.tally.fit(ctx, tx, s.cfg.KeepDecisionBytes); err != nil {
				return err
			}
		}
		s.trimmed[t] = trimmed{at: now}
	}
	return nil
}

func (t *table) trim(ctx context.Context, tx *sql.Tx, most int, now int64) (err error) {
	switch t {
	case attestedTable:
		_, err = tx.ExecContext(ctx, "DELETE FROM attested WHERE until < ? OR id <= (SELECT max(id) FROM attested) - ?", now, most)
	case proofsTable:
		_, err = tx.ExecContext(ctx, "DELETE FROM proofs WHERE id <= (SELECT max(id) FROM proofs) - ?", most)
	case decisionsTable:
		_, err = tx.ExecContext(ctx, "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", most)
	}
	return err
}
