package state

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// keptIDs is how many of the latest are kept even when their time is over: a
// clock that went ahead and was set back makes none of them good again.
const keptIDs = 1000

// Once takes an ID until its time is over; fs.ErrExist when it was taken, also
// while the disk is full.
func (s *Store) Once(ctx context.Context, id string, until time.Time) error {
	now := s.cfg.Now().Unix()
	err := s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO used (name, until) VALUES (?, ?)", id, until.Unix())
		var clash *sqlite.Error
		if errors.As(err, &clash) && clash.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
			return fs.ErrExist
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM used WHERE until < ? AND id <= (SELECT max(id) FROM used) - ?", now, keptIDs)
		return err
	})
	if errors.Is(err, syscall.ENOSPC) {
		if _, taken := one(s.read.QueryRowContext(ctx, "SELECT name FROM used WHERE name = ?", id)); taken == nil {
			return fs.ErrExist
		}
	}
	return err
}
