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

// A step is a change, and whether it may be lost when the machine crashes (not
// when the program does).
type step struct {
	change
	lazy bool
}

// change makes a change and returns when it is on disk. It is not given up
// half-way when ctx ends: it may be in others' company.
func (s *Store) change(ctx context.Context, c change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.writes.Do(step{change: c})
}

// commit makes changes in one transaction, so that they share its fsync.
func (s *Store) commit(all []step) []error {
	answers := make([]error, len(all))
	if err := s.transact(all, answers); err != nil {
		for i := range answers {
			answers[i] = fmt.Errorf("broker's state: %w", plainly(err))
		}
	}
	return answers
}

func (s *Store) transact(all []step, answers []error) error {
	ctx := context.Background()
	if !slices.ContainsFunc(all, func(c step) bool { return !c.lazy }) {
		if _, err := s.write.ExecContext(ctx, "PRAGMA synchronous=NORMAL"); err != nil {
			return err
		}
		defer func() { _, _ = s.write.ExecContext(ctx, "PRAGMA synchronous=FULL") }()
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no more than nothing once committed
	for i, c := range all {
		if answers[i], err = apart(ctx, tx, c.change); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// apart makes one change of several. What went wrong with it alone is refused;
// what broke the transaction is err.
func apart(ctx context.Context, tx *sql.Tx, c change) (refused, err error) {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT change"); err != nil {
		return nil, err
	}
	refused = c(ctx, tx)
	var broken *sqlite.Error
	if errors.As(refused, &broken) && broken.Code()&0xff != sqlite3.SQLITE_CONSTRAINT {
		return nil, refused
	}
	if refused != nil {
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO change"); err != nil {
			return nil, err
		}
	}
	_, err = tx.ExecContext(ctx, "RELEASE change")
	return refused, err
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
