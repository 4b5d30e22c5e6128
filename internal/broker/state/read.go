package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
)

// statements are those that are asked for each request.
type statements struct {
	generations, resource, attested *sql.Stmt
}

func (s *Store) prepare(ctx context.Context) error {
	for query, stmt := range map[string]**sql.Stmt{
		"SELECT kind, number FROM generations":           &s.stmts.generations,
		"SELECT sealed FROM resources WHERE name = ?":    &s.stmts.resource,
		"SELECT record FROM attested WHERE session = ?1": &s.stmts.attested,
	} {
		var err error
		if *stmt, err = s.read.PrepareContext(ctx, query); err != nil {
			return err
		}
	}
	return nil
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
