// Package audit writes and checks a log that only grows.
//
// Each line names the one before by its hash, so whoever changes, removes or
// adds one has to write all that follow anew; the number and hash of the last
// line are kept elsewhere too, and signed from time to time, so that this
// shows. A line is on disk when Append returns.
package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/batch"
	"holdfast/internal/sign"
)

// File is the name of the log that is being written; those that are full are
// called audit-1.jsonl, audit-2.jsonl, …
const File = "audit.jsonl"

// A Head keeps the last line's number and hash where the log is not.
type Head interface {
	AuditHead(ctx context.Context) (api.AuditHead, error) // zero when there is none
	SetAuditHead(ctx context.Context, h api.AuditHead) error
}

// Config is what a log needs. Dir and Head must be set.
type Config struct {
	Dir    string
	Head   Head
	Signer *sign.Signer // of checkpoints; nil: there are none

	Every    int64         // lines from one checkpoint to the next; 1000 when 0
	Interval time.Duration // at most, if there are any lines; an hour when 0
	MaxSize  int64         // of a file, bytes; 64 MiB when 0

	Now func() time.Time // time.Now when nil
	Log *slog.Logger     // discards when nil
}

// A Log is appended to by many, of several processes.
type Log struct {
	cfg   Config
	path  string
	group *batch.Group[api.AuditEntry]
	turn  *atomicfile.Latch // of processes
	last  place             // guarded by the group's turn, as all below
	file  *os.File          // open until the log goes on in another, or is garbage
	info  os.FileInfo       // of file
	lines []byte            // room of what was written last
	// of the last checkpoint, or -1 for what others signed
	signed   int64
	signedAt time.Time
}

// Open returns the log of a folder. It touches nothing yet.
func Open(cfg Config) *Log {
	cfg.Every, cfg.Interval, cfg.MaxSize = cmp.Or(cfg.Every, 1000), cmp.Or(cfg.Interval, time.Hour), cmp.Or(cfg.MaxSize, 64<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{cfg: cfg, path: filepath.Join(cfg.Dir, File), signed: -1, signedAt: cfg.Now()}
	l.turn = atomicfile.NewLatch(l.path + ".lock")
	l.group = batch.New(l.write)
	return l
}

// Append writes an entry; its place in the chain is found here. Those who
// append at once share the wait for the disk.
func (l *Log) Append(e api.AuditEntry) error { return l.group.Do(e) }

// write appends what several callers have, as one step.
func (l *Log) write(all []api.AuditEntry) []error {
	answers := make([]error, len(all))
	err := l.locked(func() error { return l.extend(all) })
	for i := range answers {
		answers[i] = err
	}
	return answers
}

// locked runs do while no other process has the log.
func (l *Log) locked(do func() error) error {
	unlock, err := l.turn.Lock(context.Background())
	if err != nil {
		return err
	}
	return errors.Join(do(), unlock())
}

func (l *Log) extend(all []api.AuditEntry) error {
	if err := l.find(); err != nil {
		return err
	}
	if l.last.size >= l.cfg.MaxSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	lines, next, err := l.chain(all)
	if err != nil {
		return err
	}
	if err := l.put(lines); err != nil {
		l.last = place{} // as it is found, the next time
		return err
	}
	l.last, l.last.file = next, l.info
	if err := l.cfg.Head.SetAuditHead(context.Background(), next.head); err != nil {
		l.cfg.Log.Warn("broker: the audit log's head could not be kept: its end is guarded less well", "error", err)
	}
	return nil
}

// chain gives entries their places, behind what the log has to say of itself.
func (l *Log) chain(all []api.AuditEntry) (lines []byte, at place, err error) {
	at, lines = l.last, l.lines[:0]
	add := func(e api.AuditEntry) {
		if err == nil {
			lines, err = at.next(lines, e)
			lines = append(lines, '\n')
		}
	}
	if note := at.note(); note != nil {
		note.Time = l.cfg.Now().UTC()
		add(*note)
		l.cfg.Log.Warn("broker: audit log", "action", note.Action, "reasons", note.Reasons)
	}
	for _, e := range all {
		add(e)
	}
	if err == nil && l.due(at.head.Seq) {
		var checkpoint api.AuditEntry
		if checkpoint, err = l.checkpoint(at.head); err == nil {
			add(checkpoint)
		}
	}
	at.size = l.last.size + int64(len(lines))
	if l.last.torn {
		at.size++
	}
	if cap(lines) <= maxRoom {
		l.lines = lines
	}
	return lines, at, err
}

// maxRoom is what is worth being kept.
const maxRoom = 256 << 10

func (l *Log) due(seq int64) bool {
	if l.cfg.Signer == nil {
		return false
	}
	since := l.cfg.Now().Sub(l.signedAt)
	return seq-l.signed >= l.cfg.Every || since >= l.cfg.Interval || since < 0
}

// checkpoint signs what the log is up to head.
func (l *Log) checkpoint(head api.AuditHead) (api.AuditEntry, error) {
	s, err := sign.NewStatement(api.AuditCheckpointType, head, sign.Subject{Name: File, Digest: map[string]string{"sha256": head.Hash[len("sha256:"):]}})
	if err != nil {
		return api.AuditEntry{}, err
	}
	env, err := sign.Seal(s, *l.cfg.Signer)
	if err != nil {
		return api.AuditEntry{}, err
	}
	raw, err := json.Marshal(env)
	l.signed, l.signedAt = head.Seq+1, l.cfg.Now()
	return api.AuditEntry{Time: l.signedAt.UTC(), Action: api.AuditCheckpoint, Decision: api.AuditAllow, Checkpoint: raw}, err
}

// put writes whole lines behind what is there. When that fails, what is there
// stays as it was, as far as the disk lets it.
func (l *Log) put(lines []byte) error {
	if err := l.open(); err != nil {
		return err
	}
	if l.last.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	_, err := l.file.Write(lines)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		_ = l.file.Truncate(l.last.size) // nobody is told that these lines are there
		return err
	}
	if l.last.size == 0 {
		return atomicfile.SyncDir(l.cfg.Dir)
	}
	return nil
}

// open opens the file that the last place is in, unless it is open.
func (l *Log) open() error {
	if l.file != nil && l.last.file != nil && os.SameFile(l.info, l.last.file) {
		return nil
	}
	if l.file != nil {
		_ = l.file.Close() // all of it is on disk
	}
	var err error
	if l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		l.file = nil
		return err
	}
	l.info, err = l.file.Stat()
	return err
}

// rotate puts a file that is full away. The chain goes on in the next.
func (l *Log) rotate() error {
	full, err := Files(l.cfg.Dir)
	if err != nil {
		return err
	}
	if err := os.Rename(l.path, filepath.Join(l.cfg.Dir, fmt.Sprintf("audit-%d.jsonl", len(full)))); err != nil {
		return err
	}
	l.last.size, l.last.file, l.last.torn = 0, nil, false
	return atomicfile.SyncDir(l.cfg.Dir)
}

// Files lists the files of a folder's log, the oldest first.
func Files(dir string) ([]string, error) {
	var all []string
	for n := 1; ; n++ {
		path := filepath.Join(dir, fmt.Sprintf("audit-%d.jsonl", n))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		all = append(all, path)
	}
	path := filepath.Join(dir, File)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return all, nil
	} else if err != nil {
		return nil, err
	}
	return append(all, path), nil
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
