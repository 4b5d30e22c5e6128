package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
)

// Resource opens the value of a resource; fs.ErrNotExist when there is none.
func (s *Store) Resource(ctx context.Context, name string) ([]byte, error) {
	sealed, err := one(s.stmts.resource.QueryRowContext(context.WithoutCancel(ctx), name))
	if err != nil {
		return nil, err
	}
	return s.cfg.Sealer.Open(ctx, name, sealed)
}

// Resources lists the names of resources, in order.
func (s *Store) Resources(ctx context.Context) ([]string, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT name FROM resources ORDER BY name")
	return list(rows, err, text)
}

// SetResource stores a value in place of what is there, or, if fresh, only
// where nothing is: else fs.ErrExist.
func (s *Store) SetResource(ctx context.Context, name string, value []byte, fresh bool) error {
	sealed, err := s.cfg.Sealer.Seal(ctx, name, value)
	if err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return setResource(ctx, tx, name, sealed, fresh)
	})
}

func setResource(ctx context.Context, tx *sql.Tx, name string, sealed []byte, fresh bool) error {
	clash := "UPDATE SET sealed = excluded.sealed"
	if fresh {
		clash = "NOTHING"
	}
	result, err := tx.ExecContext(ctx, "INSERT INTO resources (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO "+clash, name, sealed)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = fs.ErrExist
	}
	return err
}

// DeleteResource forgets a value; fs.ErrNotExist when there is none. Its bytes
// are overwritten.
func (s *Store) DeleteResource(ctx context.Context, name string) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return removed(tx.ExecContext(ctx, "DELETE FROM resources WHERE name = ?", name))
	})
}

// Reseal replaces what every resource is sealed with, all or none.
func (s *Store) Reseal(ctx context.Context, again func(name string, sealed []byte) ([]byte, error)) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT name FROM resources")
		names, err := list(rows, err, text)
		for _, name := range names {
			if err == nil {
				err = reseal(ctx, tx, name, again)
			}
		}
		return err
	})
}

// EachSealed reads every resource as it is kept.
func (s *Store) EachSealed(ctx context.Context, read func(name string, sealed []byte) error) error {
	names, err := s.Resources(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		sealed, err := one(s.stmts.resource.QueryRowContext(ctx, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err == nil {
			err = read(name, sealed)
		}
		if err != nil {
			return fmt.Errorf("resource %s: %w", name, err)
		}
	}
	return nil
}

func reseal(ctx context.Context, tx *sql.Tx, name string, again func(string, []byte) ([]byte, error)) error {
	sealed, err := one(tx.QueryRowContext(ctx, "SELECT sealed FROM resources WHERE name = ?", name))
	if err != nil {
		return err
	}
	if sealed, err = again(name, sealed); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE resources SET sealed = ? WHERE name = ?", sealed, name)
	return err
}
