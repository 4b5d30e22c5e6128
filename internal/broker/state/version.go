package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"io/fs"
	"sync"
	"time"

	"holdfast/internal/api"
)

// glance is how long Generations takes the file to be as it was. What this
// process changes it sees at once.
const glance = 100 * time.Millisecond

// A seen is what Generations found, and when.
type seen struct {
	mu      sync.Mutex
	all     map[string]int64 // guarded by mu, as all below; never altered
	at      time.Time        // by the clock that nobody sets
	changes int              // of this process
}

// Generations tells how many changes each kind has seen. What was read of a
// kind holds as long as its number stays. What another process changed shows
// within a tenth of a second.
func (s *Store) Generations(ctx context.Context) (map[string]int64, error) {
	s.seen.mu.Lock()
	all, at, changes := s.seen.all, s.seen.at, s.seen.changes
	s.seen.mu.Unlock()
	if all != nil && time.Since(at) < glance {
		return all, nil
	}
	at = time.Now()
	all, err := s.countGenerations(ctx)
	if err != nil {
		return nil, err
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if s.seen.changes == changes { // else it may be what was before
		s.seen.all, s.seen.at = all, at
	}
	return all, nil
}

// changed makes Generations look again.
func (s *Store) changed() {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.all, s.seen.changes = nil, s.seen.changes+1
}

func (s *Store) countGenerations(ctx context.Context) (map[string]int64, error) {
	rows, err := s.stmts.generations.QueryContext(context.WithoutCancel(ctx))
	if err != nil {
		return nil, told(err)
	}
	defer rows.Close()
	all := make(map[string]int64, 4)
	for rows.Next() {
		var kind string
		var number int64
		if err := rows.Scan(&kind, &number); err != nil {
			return nil, told(err)
		}
		all[kind] = number
	}
	return all, told(rows.Err())
}

// Documents returns what is in force of a kind, by name, and the generation
// that it belongs to.
func (s *Store) Documents(ctx context.Context, kind string) ([]api.Version, int64, error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, 0, told(err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was changed
	number, err := generation(ctx, tx, kind)
	if err != nil {
		return nil, 0, told(err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT "+columns+" FROM documents JOIN versions v USING (kind, number) WHERE v.kind = ? ORDER BY v.name", kind)
	all, err := list(rows, err, scanVersion)
	return all, number, err
}

func generation(ctx context.Context, tx *sql.Tx, kind string) (number int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT number FROM generations WHERE kind = ?", kind).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return number, err
}

const columns = "v.kind, v.number, v.name, v.time, v.actor, v.comment, v.digest, v.content"

func scanVersion(rows *sql.Rows) (v api.Version, err error) {
	var at string
	if err = rows.Scan(&v.Kind, &v.Number, &v.Name, &at, &v.Actor, &v.Comment, &v.Digest, &v.Content); err != nil {
		return v, err
	}
	v.Time, err = time.Parse(time.RFC3339Nano, at)
	return v, err
}

// SetDocument makes each of all a new version of what it names and puts it in
// force. One without content takes away what is in force: fs.ErrNotExist when
// nothing is, and then nothing is changed. The number is the last one's.
func (s *Store) SetDocument(ctx context.Context, all ...api.Version) (number int64, err error) {
	err = s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, v := range all {
			if number, err = s.setDocument(ctx, tx, v); err != nil {
				return err
			}
		}
		return nil
	})
	return number, err
}

func (s *Store) setDocument(ctx context.Context, tx *sql.Tx, v api.Version) (int64, error) {
	if v.Content == nil {
		if err := removed(tx.ExecContext(ctx, "DELETE FROM documents WHERE kind = ? AND name = ?", v.Kind, v.Name)); err != nil {
			return 0, err
		}
	}
	number, err := s.addVersion(ctx, tx, v)
	if err != nil || v.Content == nil {
		return number, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO documents (kind, name, number) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = excluded.number", v.Kind, v.Name, number)
	return number, err
}

// addVersion writes a version down, and forgets the oldest that is in force no
// more when there are too many.
func (s *Store) addVersion(ctx context.Context, tx *sql.Tx, v api.Version) (number int64, err error) {
	err = tx.QueryRowContext(ctx, "INSERT INTO generations (kind, number) VALUES (?, 1) ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number", v.Kind).Scan(&number)
	if err != nil {
		return 0, err
	}
	digest := ""
	if v.Content != nil {
		sum := sha256.Sum256(v.Content)
		digest = "sha256:" + hex.EncodeToString(sum[:])
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO versions (kind, number, name, time, actor, comment, digest, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		v.Kind, number, v.Name, v.Time.UTC().Format(time.RFC3339Nano), v.Actor, v.Comment, digest, v.Content)
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM versions WHERE kind = ?1 AND number <= ?2
		AND number NOT IN (SELECT number FROM documents WHERE kind = ?1)`, v.Kind, number-int64(s.cfg.KeepVersions))
	return number, err
}

// History returns the versions of a kind that are kept, the latest first,
// without their content.
func (s *Store) History(ctx context.Context, kind string) ([]api.Version, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT v.kind, v.number, v.name, v.time, v.actor, v.comment, v.digest, NULL FROM versions v WHERE v.kind = ? ORDER BY v.number DESC", kind)
	return list(rows, err, scanVersion)
}

// Version returns one version; fs.ErrNotExist when it is not kept.
func (s *Store) Version(ctx context.Context, kind string, number int64) (api.Version, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT "+columns+" FROM versions v WHERE v.kind = ? AND v.number = ?", kind, number)
	all, err := list(rows, err, scanVersion)
	if err == nil && len(all) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return api.Version{}, err
	}
	return all[0], nil
}

// Rollback makes a kind, or if name is not empty only what is called so, as it
// was after version number. What that changes becomes new versions by whom by
// says, which it returns; none when all is so already, and none when check
// refuses one of them.
func (s *Store) Rollback(ctx context.Context, kind, name string, number int64, by api.Version, check func(api.Version) error) (made []int64, err error) {
	err = s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, err := generation(ctx, tx, kind)
		if err != nil {
			return err
		}
		if number < 1 || number > now || number <= now-int64(s.cfg.KeepVersions) {
			return fs.ErrNotExist
		}
		made = nil // of a try before
		rows, err := tx.QueryContext(ctx, differing, kind, number, name)
		then, err := list(rows, err, scanVersion)
		for _, v := range then {
			if err != nil {
				return err
			}
			if !v.Removed() && v.Content == nil {
				v.Content = []byte{} // what was there was empty
			}
			if err := check(v); err != nil {
				return err
			}
			v.Time, v.Actor, v.Comment = by.Time, by.Actor, by.Comment
			var n int64
			n, err = s.setDocument(ctx, tx, v)
			made = append(made, n)
		}
		return err
	})
	return made, err
}

// differing finds what was otherwise after version ?2 of kind ?1 than it is now:
// as it was then, without content where it was not there.
const differing = `
	WITH
	then_ AS (SELECT name, max(number) AS number FROM versions WHERE kind = ?1 AND number <= ?2 GROUP BY name),
	was   AS (SELECT v.* FROM then_ JOIN versions v USING (name, number) WHERE v.kind = ?1),
	is_   AS (SELECT v.* FROM documents d JOIN versions v USING (kind, number) WHERE d.kind = ?1),
	names AS (SELECT name FROM was UNION SELECT name FROM is_)
	SELECT ?1, 0, n.name, '0001-01-01T00:00:00Z', '', '', coalesce(was.digest, ''), was.content
	FROM names n LEFT JOIN was USING (name) LEFT JOIN is_ USING (name)
	WHERE coalesce(was.digest, '') <> coalesce(is_.digest, '') AND (?3 = '' OR n.name = ?3)
	ORDER BY n.name`
