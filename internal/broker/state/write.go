package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A change is one caller's part of a transaction. It happens whole or not at
// all, whatever becomes of the others'.
type change func(ctx context.Context, tx *sql.Tx) error

// A step is one caller's part: a change, or rows, or a load.
type step struct {
	change
	rows []row
	load *load
	lazy bool // it may be lost when the machine crashes (not when the program does)
}

// note is what a step has that is nothing but a note, and may be late.
func (c *step) note() []any {
	if c.lazy && c.change == nil && c.load == nil && len(c.rows) == 1 && c.rows[0].table == notesTable {
		return c.rows[0].values
	}
	return nil
}

// change makes a change and returns when it is on disk. It is not given up
// half-way when ctx ends: it may be in others' company.
func (s *Store) change(ctx context.Context, c change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.changed()
	return s.writes.Do(step{change: c})
}

// add is change for rows.
func (s *Store) add(ctx context.Context, rows ...row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.writes.Do(step{rows: rows})
}

// commit makes changes in one transaction, so that they share its fsync. Where
// they are nothing but rows they share statements too, until one is refused.
func (s *Store) commit(all []step) []error {
	answers := make([]error, len(all))
	if len(all) == 1 && all[0].note() != nil { // each line of the audit log has one
		_, err := s.stmts.loads[s.lazy].single[notesTable].ExecContext(context.Background(), all[0].note()...)
		answers[0] = told(err)
		return answers
	}
	err := s.transact(all, func(ctx context.Context, tx *sql.Tx, by *loading) error {
		if len(all) == 1 {
			return s.make(ctx, tx, by, all[0])
		}
		for _, c := range all {
			if c.change != nil {
				return errApart
			}
		}
		return s.insertAll(ctx, tx, by, all)
	})
	if len(all) > 1 && (errors.Is(err, errApart) || refusal(err)) {
		err = s.transact(all, func(ctx context.Context, tx *sql.Tx, by *loading) error {
			return s.apart(ctx, tx, by, all, answers)
		})
	}
	if err != nil {
		for i := range answers {
			answers[i] = fmt.Errorf("broker's state: %w", plainly(err))
		}
	}
	if len(all) == 1 && refusal(err) {
		answers[0] = err
	}
	return answers
}

var errApart = errors.New("these changes have to be made one by one")

// transact does all that do does, or nothing.
func (s *Store) transact(all []step, do func(context.Context, *sql.Tx, *loading) error) error {
	ctx, db := context.Background(), s.lazy
	if slices.ContainsFunc(all, func(c step) bool { return !c.lazy }) {
		db = s.write
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no more than nothing once committed
	if err := do(ctx, tx, s.stmts.loads[db]); err != nil {
		return err
	}
	if err := s.trim(ctx, tx, all); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		s.tally.known = false // it counted what is not there
		return err
	}
	return nil
}

func (s *Store) make(ctx context.Context, tx *sql.Tx, by *loading, c step) error {
	if c.change != nil {
		return c.change(ctx, tx)
	}
	return s.insertAll(ctx, tx, by, []step{c})
}

// insertAll inserts the rows and loads of all.
func (s *Store) insertAll(ctx context.Context, tx *sql.Tx, by *loading, all []step) error {
	if err := insert(ctx, tx, by, all); err != nil {
		return err
	}
	for _, c := range all {
		if c.load != nil {
			if err := s.insertLoad(ctx, tx, by, c.load); err != nil {
				return err
			}
		}
	}
	return nil
}

// apart makes changes so that one which is refused leaves the others be. What
// broke the transaction is its error.
func (s *Store) apart(ctx context.Context, tx *sql.Tx, by *loading, all []step, answers []error) error {
	for i, c := range all {
		if _, err := tx.ExecContext(ctx, "SAVEPOINT change"); err != nil {
			return err
		}
		answers[i] = s.make(ctx, tx, by, c)
		if answers[i] != nil && !refusal(answers[i]) {
			return answers[i]
		}
		if answers[i] != nil {
			if _, err := tx.ExecContext(ctx, "ROLLBACK TO change"); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "RELEASE change"); err != nil {
			return err
		}
	}
	return nil
}

// refusal tells what went wrong with one change alone from what broke the
// transaction: a constraint, or what the change itself says.
func refusal(err error) bool {
	var broken *sqlite.Error
	return err != nil && (!errors.As(err, &broken) || broken.Code()&0xff == sqlite3.SQLITE_CONSTRAINT)
}

// plainly says what SQLite means, and matches what callers branch on.
func plainly(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE:
		return fullError{}
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY:
		return errors.New("another process has been writing for too long")
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// A fullError is what a full disk comes to.
type fullError struct{}

func (fullError) Error() string { return "no space left where the broker keeps its state" }

func (fullError) Unwrap() error { return syscall.ENOSPC }

// ErrDamaged is matched when the file is not what was written.
var ErrDamaged = errors.New("the file is damaged")
