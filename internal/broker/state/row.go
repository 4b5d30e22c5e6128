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
	attestedTable  = &table{} // in bundles alone
	proofsTable    = &table{"INSERT INTO proofs (name, proof)", "(?, ?)", ""}
	decisionsTable = &table{"INSERT INTO decisions (session, action, record)", "(?, ?, ?)", ""}
	notesTable     = &table{"INSERT INTO notes (name, value)", "(?, ?)", " ON CONFLICT DO UPDATE SET value = excluded.value"}

	tables = []*table{proofsTable, decisionsTable, notesTable}
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

// insertion is the statement for so many rows.
func (t *table) insertion(rows int) string {
	return t.into + " VALUES " + t.row + strings.Repeat(", "+t.row, rows-1) + t.clash
}

// insert inserts the rows of all: one alone by its prepared statement, if there
// are any.
func insert(ctx context.Context, tx *sql.Tx, by *loading, all []step) error {
	for _, t := range tables {
		n, values := 0, []any(nil)
		for _, c := range all {
			for _, r := range c.rows {
				if r.table == t {
					n, values = n+1, append(values, r.values...)
				}
			}
		}
		if n == 1 && by != nil {
			if err := exec(ctx, tx, nil, by.single[t], values...); err != nil {
				return err
			}
			continue
		}
		for width := len(values) / max(n, 1); n > 0; {
			few := min(n, maxRows)
			if _, err := tx.ExecContext(ctx, t.insertion(few), values[:few*width]...); err != nil {
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

func (t trimmer) grew(table *table, n int, bytes int64) {
	was := t[table]
	t[table] = trimmed{was.added + n, was.bytes + bytes, was.at}
}

// bundles are those for a table; a step may have no load.
func (l *load) bundles(t *table) []*bundle {
	switch {
	case l == nil:
		return nil
	case t == attestedTable:
		return l.attested
	}
	return l.decisions
}

// trim forgets the oldest rows where there are too many, or too much: once in a
// second, or when a hundredth more is there than should be.
func (s *Store) trim(ctx context.Context, tx *sql.Tx, all []step) error {
	most := map[*table]int{}
	for _, c := range all {
		for _, r := range c.rows {
			if r.most > 0 {
				most[r.table] = r.most
				s.trimmed.grew(r.table, 1, r.size())
			}
		}
		for _, b := range c.load.bundles(decisionsTable) {
			most[decisionsTable] = s.cfg.KeepDecisions
			s.trimmed.grew(decisionsTable, len(b.names), int64(len(b.text)))
		}
		for _, b := range c.load.bundles(attestedTable) {
			most[attestedTable] = c.load.most
			s.trimmed.grew(attestedTable, len(b.names), 0)
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
		err = trimAttested(ctx, tx, most, now)
	case proofsTable:
		_, err = tx.ExecContext(ctx, "DELETE FROM proofs WHERE id <= (SELECT max(id) FROM proofs) - ?", most)
	case decisionsTable:
		_, err = tx.ExecContext(ctx, "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", most)
	}
	return err
}
