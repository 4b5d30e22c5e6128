// Package state keeps what a broker must not forget, in one SQLite file.
//
// A change is on disk when its call returns, whole or not at all, and several
// processes may share the file. Values of resources are sealed before they
// come near the disk; names, policies, reference values and configurations are
// not.
package state

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/batch"

	_ "modernc.org/sqlite" // the driver
)

// File is the database's name in the broker's folder.
const File = "state.db"

// A Sealer encrypts values; name is authenticated with each, so that one
// cannot stand in for another.
type Sealer interface {
	Seal(ctx context.Context, name string, plain []byte) ([]byte, error)
	Open(ctx context.Context, name string, sealed []byte) ([]byte, error)
}

// Config is what a store needs. Dir and Sealer must be set.
type Config struct {
	Dir    string // made if absent
	Sealer Sealer

	KeepVersions  int // superseded versions of each kind; 10000 when 0
	KeepDecisions int // 10000 when 0

	KeepDecisionBytes int64 // of all of them; 256 MiB when 0

	Now func() time.Time // time.Now when nil
	Log *slog.Logger     // discards when nil
}

// A Store is a broker's state. Close it.
type Store struct {
	cfg     Config
	dir     string
	read    *sql.DB
	write   *sql.DB // one connection
	lazy    *sql.DB // another, which does not wait for the disk
	writes  *batch.Group[step]
	seen    seen
	behind  behind
	trimmed trimmer
	tally   tally
	stmts   statements

	squeezer squeezer
}

// Open opens the state in a folder, making it or bringing an older one up to
// date. What brokers kept as files before is imported.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("broker's state: no folder is set")
	}
	if cfg.Sealer == nil {
		return nil, errors.New("broker's state: nothing is set to seal resources with")
	}
	cfg.KeepVersions, cfg.KeepDecisions = cmp.Or(cfg.KeepVersions, 10000), cmp.Or(cfg.KeepDecisions, 10000)
	cfg.KeepDecisionBytes = cmp.Or(cfg.KeepDecisionBytes, 256<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("broker's state %s: %w", filepath.Join(cfg.Dir, File), plainly(err))
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (s *Store, err error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := atomicfile.Lock(ctx, filepath.Join(dir, "lock")) // as older versions took to write
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	s = &Store{cfg: cfg, dir: dir, trimmed: trimmer{}, behind: behind{delay: behindDelay, attested: map[string]spot{}}}
	if err = s.connect(ctx); err == nil {
		err = s.prepare(ctx)
	}
	if err == nil {
		err = s.wipeSecrets(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect opens the file, which is private before anything is in it.
func (s *Store) connect(ctx context.Context) error {
	path := filepath.Join(s.dir, File)
	if err := create(path); err != nil {
		return err
	}
	var err error
	if s.write, err = sql.Open("sqlite", source(path, "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)")); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if s.lazy, err = sql.Open("sqlite", source(path, "synchronous(NORMAL)", "secure_delete(ON)")); err != nil {
		return err
	}
	s.lazy.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", source(path, "query_only(ON)")); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	s.writes = batch.New(s.commit)
	return s.migrate(ctx)
}

// create makes the file when it is absent. One that is there must not be opened
// but by SQLite: to close it would let go of all locks that this process has
// on it (sqlite.org/howtocorrupt.html, 2.2).
func create(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ordinary(path)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func ordinary(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("want an ordinary file")
	}
	return bare(err)
}

// bare leaves out the path of an error that is told of it anyway.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// source names the file and how each connection to it begins.
func source(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)", "foreign_keys(ON)"}, pragmas...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

func (s *Store) closeAll() error {
	var problems []error
	for _, db := range []*sql.DB{s.read, s.lazy, s.write} {
		if db != nil {
			problems = append(problems, db.Close())
		}
	}
	return errors.Join(problems...)
}
