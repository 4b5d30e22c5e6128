package state

import (
	"context"
	"database/sql"
	"fmt"
)

// schema brings the file from each version to the next; PRAGMA user_version
// tells where it is. What is here stays: add to the end.
var schema = []string{
	`CREATE TABLE resources (
		name   TEXT PRIMARY KEY,
		sealed BLOB NOT NULL
	 ) STRICT, WITHOUT ROWID;

	 CREATE TABLE versions (
		kind    TEXT NOT NULL,
		number  INTEGER NOT NULL,
		name    TEXT NOT NULL,
		time    TEXT NOT NULL,
		actor   TEXT NOT NULL,
		comment TEXT NOT NULL,
		digest  TEXT NOT NULL, -- empty: removed
		content BLOB,
		PRIMARY KEY (kind, number)
	 ) STRICT;
	 CREATE INDEX versions_of ON versions (kind, name, number);

	 -- what is in force: the latest version of each name that was not removed
	 CREATE TABLE documents (
		kind   TEXT NOT NULL,
		name   TEXT NOT NULL,
		number INTEGER NOT NULL,
		PRIMARY KEY (kind, name),
		FOREIGN KEY (kind, number) REFERENCES versions
	 ) STRICT, WITHOUT ROWID;

	 -- how many changes each kind has seen
	 CREATE TABLE generations (kind TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;

	 CREATE TABLE attested (
		id      INTEGER PRIMARY KEY AUTOINCREMENT,
		session TEXT NOT NULL UNIQUE,
		until   INTEGER NOT NULL, -- Unix seconds
		record  BLOB NOT NULL
	 ) STRICT;
	 CREATE INDEX attested_until ON attested (until);

	 CREATE TABLE proofs (
		id    INTEGER PRIMARY KEY AUTOINCREMENT,
		name  TEXT NOT NULL UNIQUE,
		proof BLOB NOT NULL
	 ) STRICT;

	 CREATE TABLE decisions (
		id      INTEGER PRIMARY KEY AUTOINCREMENT,
		session TEXT NOT NULL,
		action  TEXT NOT NULL,
		record  BLOB NOT NULL -- JSON
	 ) STRICT;

	 CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;`,

	`CREATE TABLE used (
		id    INTEGER PRIMARY KEY AUTOINCREMENT,
		name  TEXT NOT NULL UNIQUE, -- what is good once
		until INTEGER NOT NULL      -- Unix seconds
	 ) STRICT;
	 CREATE INDEX used_until ON used (until);`,

	// What was kept of sessions is let go of: their machines attest again.
	`DROP TABLE attested;
	 CREATE TABLE attested (
		id       INTEGER PRIMARY KEY AUTOINCREMENT, -- of the last record
		until    INTEGER NOT NULL, -- Unix seconds
		sessions BLOB NOT NULL,    -- keys of attested_in
		records  BLOB NOT NULL
	 ) STRICT;
	 CREATE INDEX attested_until ON attested (until);
	 -- With a check on its columns SQLite would keep a copy of each page that a statement
	 -- of many rows changes, in case it had to undo the statement alone.
	 CREATE TABLE attested_in (
		session INTEGER PRIMARY KEY, -- SHA-256 of its name, the first eight bytes
		bundle  INTEGER              -- its ID
	 );
	 ALTER TABLE decisions ADD COLUMN held INTEGER NOT NULL DEFAULT 1;`,
}

// migrate makes the tables that the file lacks, and takes in what a broker of
// before kept as files, in one transaction.
func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no more than nothing once committed
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if err := complete(ctx, tx); err != nil {
		return err
	}
	if version > len(schema) {
		return fmt.Errorf("it was made by a later version of this program: it has schema %d, this one knows %d", version, len(schema))
	}
	if version < len(schema) {
		if err := s.upgrade(ctx, tx, version); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return s.moveAside()
}

// complete is the check that every opening can afford: each table has its
// beginning and its end.
func complete(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table'")
	tables, err := list(rows, err, text)
	for _, table := range tables {
		var n int
		if err == nil {
			err = tx.QueryRowContext(ctx, fmt.Sprintf("SELECT (SELECT count(*) FROM (SELECT * FROM %[1]q LIMIT 1)) + (SELECT count(*) FROM (SELECT * FROM %[1]q ORDER BY 1 DESC LIMIT 1))", table)).Scan(&n)
		}
	}
	return err
}

func (s *Store) upgrade(ctx context.Context, tx *sql.Tx, from int) error {
	for _, step := range schema[from:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(schema))); err != nil {
		return err
	}
	if from > 0 {
		return nil
	}
	return s.importFiles(ctx, tx)
}
