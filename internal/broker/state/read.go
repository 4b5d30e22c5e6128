package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// statements are those that are asked for each request.
type statements struct {
	generations, resource, attested, kept *sql.Stmt // of read

	// Loads may be in others' company, and then on their connection.
	loads map[*sql.DB]*loading
}

// loading are the statements of loads, and of rows that come alone, as one
// connection has them.
type loading struct {
	decisions, bundles, bundled, last *sql.Stmt

	single map[*table]*sql.Stmt
}

func (s *Store) prepare(ctx context.Context) error {
	for query, stmt := range map[string]**sql.Stmt{
		"SELECT kind, number FROM generations":                                                        &s.stmts.generations,
		"SELECT sealed FROM resources WHERE name = ?":                                                 &s.stmts.resource,
		"SELECT records FROM attested WHERE id = (SELECT bundle FROM attested_in WHERE session = ?1)": &s.stmts.attested,
		"SELECT id FROM attested WHERE id = (SELECT bundle FROM attested_in WHERE session = ?1)":      &s.stmts.kept,
	} {
		var err error
		if *stmt, err = s.read.PrepareContext(ctx, query); err != nil {
			return err
		}
	}
	s.stmts.loads = map[*sql.DB]*loading{}
	for _, db := range []*sql.DB{s.lazy, s.write} {
		l, err := prepareLoads(ctx, db)
		if err != nil {
			return err
		}
		s.stmts.loads[db] = l
	}
	return nil
}

func prepareLoads(ctx context.Context, db *sql.DB) (*loading, error) {
	l := &loading{single: map[*table]*sql.Stmt{}}
	for query, stmt := range map[string]**sql.Stmt{
		intoDecisions: &l.decisions,
		intoAttested:  &l.bundles,
		lastOf:        &l.last,
		foundIn + " VALUES (?, ?)" + strings.Repeat(", (?, ?)", together-1): &l.bundled,
	} {
		var err error
		if *stmt, err = db.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
	}
	for _, t := range tables {
		var err error
		if l.single[t], err = db.PrepareContext(ctx, t.insertion(1)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// one reads the one blob that there is, or fs.ErrNotExist.
func one(row *sql.Row) (blob []byte, err error) {
	if err = row.Scan(&blob); errors.Is(err, sql.ErrNoRows) {
		return nil, fs.ErrNotExist
	}
	return blob, told(err)
}

// told gives an error of reading its beginning.
func told(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("broker's state: %w", plainly(err))
}

// A rows reader lists what a query finds.
func list[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, told(err)
	}
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, told(err)
		}
		all = append(all, one)
	}
	return all, told(rows.Err())
}

func text(rows *sql.Rows) (s string, err error) {
	err = rows.Scan(&s)
	return s, err
}

// removed is fs.ErrNotExist when a statement found nothing to remove.
func removed(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = fs.ErrNotExist
	}
	return err
}
