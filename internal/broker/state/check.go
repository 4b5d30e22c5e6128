package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
)

// A Report is what Check found.
type Report struct {
	Resources int      `json:"resources"` // that open
	Sealed    []string `json:"sealed"`    // names of those that do not open
	Versions  int      `json:"versions"`
	Proofs    int      `json:"proofs"`
	Decisions int      `json:"decisions"`
}

// Check reads all there is: the structure of the file, and whether each
// resource opens.
func (s *Store) Check(ctx context.Context) (Report, error) {
	r := Report{Sealed: []string{}}
	if err := s.flush(); err != nil {
		return r, err
	}
	rows, err := s.read.QueryContext(ctx, "SELECT * FROM pragma_integrity_check")
	found, err := list(rows, err, text)
	if err != nil {
		return r, err
	}
	if len(found) != 1 || found[0] != "ok" {
		return r, fmt.Errorf("broker's state: %w: %s", ErrDamaged, found[0])
	}
	names, err := s.Resources(ctx)
	if err != nil {
		return r, err
	}
	for _, name := range names {
		if _, err := s.Resource(ctx, name); err != nil {
			r.Sealed = append(r.Sealed, name)
		} else {
			r.Resources++
		}
	}
	row := s.read.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM versions), (SELECT count(*) FROM proofs), (SELECT coalesce(sum(held), 0) FROM decisions)")
	return r, told(row.Scan(&r.Versions, &r.Proofs, &r.Decisions))
}

// Copy writes what the state is at one moment to a new file, while others go
// on.
func (s *Store) Copy(ctx context.Context, path string) error {
	if err := create(path); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", source(filepath.Join(s.dir, File)))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", path)
	return errors.Join(told(err), db.Close())
}
