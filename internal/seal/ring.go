package seal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// A Provider keeps masters of one kind somewhere. What it must remember of one
// are its params, a JSON object in the ring's folder.
type Provider interface {
	// Make makes the key that id names. Options say how, in the kind's own words.
	Make(ctx context.Context, id ID, options json.RawMessage) (params json.RawMessage, err error)
	// Open finds it again. A Master that is an io.Closer is closed with the ring.
	Open(ctx context.Context, id ID, params json.RawMessage) (Master, error)
}

// RingConfig says where masters are. Dir must be set.
type RingConfig struct {
	Dir       string              // made, with a master in a file, when absent
	Providers map[string]Provider // by kind, beside FileKind
	Now       func() time.Time    // time.Now when nil
}

// A Ring is a folder that remembers masters: ID.json each, and which of them is
// current. Processes may share it.
type Ring struct {
	dir       string
	providers map[string]Provider
	now       func() time.Time
	mu        sync.Mutex
	open      map[ID]Master // guarded by mu
}

// A Record is what the folder remembers of one master. It holds a secret when
// the master is kept in a file.
type Record struct {
	ID     ID              `json:"id"`
	Kind   string          `json:"kind"`
	Made   time.Time       `json:"made"`
	Params json.RawMessage `json:"params"`
	// Check is 32 zero bytes, wrapped: who unwraps it is this master.
	Check []byte `json:"check"`
}

var errClosed = errors.New("the master is closed")

// OpenRing opens the folder; when it is absent, it comes with one master in a
// file.
func OpenRing(ctx context.Context, c RingConfig) (*Ring, error) {
	if c.Dir == "" {
		return nil, errors.New("master keys: no folder is set")
	}
	r := &Ring{dir: c.Dir, providers: map[string]Provider{FileKind: inFile{}}, now: c.Now, open: map[ID]Master{}}
	for kind, p := range c.Providers {
		r.providers[kind] = p
	}
	if r.now == nil {
		r.now = time.Now
	}
	if _, err := r.current(); !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	return r, r.first(ctx)
}

// first makes the first master. A folder that has masters, but does not say
// which is current, was damaged: another master would not mend it.
func (r *Ring) first(ctx context.Context) error {
	return r.write(ctx, func() error {
		if _, err := r.current(); !errors.Is(err, fs.ErrNotExist) {
			return err // another process was faster
		}
		if found, _ := filepath.Glob(filepath.Join(r.dir, "*.json")); len(found) > 0 {
			return fmt.Errorf("master keys: %s is missing beside %s: bring it back, it names the one in use", r.pointer(), filepath.Base(found[0]))
		}
		_, err := r.make(ctx, FileKind, nil)
		return err
	})
}

// Rotate makes a master of a kind, which is current from now on. The earlier
// ones stay, for what was sealed under them.
func (r *Ring) Rotate(ctx context.Context, kind string, options json.RawMessage) (id ID, err error) {
	err = r.write(ctx, func() error { id, err = r.make(ctx, kind, options); return err })
	return id, err
}

func (r *Ring) write(ctx context.Context, change func() error) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	unlock, err := atomicfile.Lock(ctx, r.dir+".lock")
	if err != nil {
		return err
	}
	return errors.Join(change(), unlock())
}

// make writes a master's record before it is named current, so that no crash
// leaves an envelope without its master.
func (r *Ring) make(ctx context.Context, kind string, options json.RawMessage) (ID, error) {
	p, err := r.provider(kind)
	if err != nil {
		return ID{}, err
	}
	record := Record{Kind: kind, Made: r.now().UTC().Truncate(time.Second)}
	_, _ = rand.Read(record.ID[:])
	if record.Params, err = p.Make(ctx, record.ID, options); err != nil {
		return ID{}, fmt.Errorf("make a master key of kind %s: %w", kind, err)
	}
	master, err := p.Open(ctx, record.ID, record.Params)
	if err == nil {
		record.Check, err = master.Wrap(ctx, make([]byte, keySize))
	}
	if err != nil {
		return ID{}, fmt.Errorf("make a master key of kind %s: %w", kind, err)
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return ID{}, err
	}
	defer clear(raw)
	if err := atomicfile.WriteFile(r.path(record.ID), append(raw, '\n'), 0o600); err != nil {
		return ID{}, err
	}
	r.mu.Lock()
	r.open[record.ID] = master
	r.mu.Unlock()
	return record.ID, atomicfile.WriteFile(r.pointer(), []byte(record.ID.String()+"\n"), 0o600)
}

func (r *Ring) provider(kind string) (Provider, error) {
	if p, ok := r.providers[kind]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("master keys of kind %.20q are not supported here", kind)
}

func (r *Ring) pointer() string   { return filepath.Join(r.dir, "current") }
func (r *Ring) path(id ID) string { return filepath.Join(r.dir, id.String()+".json") }

func (r *Ring) current() (id ID, err error) {
	raw, err := input.ReadFile(r.pointer(), input.Key)
	if err != nil {
		return ID{}, err
	}
	if err := id.UnmarshalText([]byte(strings.TrimSpace(string(raw)))); err != nil {
		return ID{}, fmt.Errorf("%s: %w", r.pointer(), err)
	}
	return id, nil
}

// Current implements Masters. Another process may have rotated.
func (r *Ring) Current(ctx context.Context) (ID, Master, error) {
	id, err := r.current()
	if err != nil {
		return ID{}, nil, fmt.Errorf("master keys: %w", err)
	}
	m, err := r.Master(ctx, id)
	return id, m, err
}

// Master implements Masters.
func (r *Ring) Master(ctx context.Context, id ID) (Master, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.open[id]; ok {
		return m, nil
	}
	record, err := r.record(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrUnknownMaster, r.path(id))
	}
	if err != nil {
		return nil, err
	}
	m, err := r.reopen(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("master %s (%s): %w", id, record.Kind, err)
	}
	r.open[id] = m
	return m, nil
}

// reopen finds a master again, and makes sure that it is the one.
func (r *Ring) reopen(ctx context.Context, record *Record) (Master, error) {
	p, err := r.provider(record.Kind)
	if err != nil {
		return nil, err
	}
	m, err := p.Open(ctx, record.ID, record.Params)
	if err != nil {
		return nil, err
	}
	key, err := m.Unwrap(ctx, record.Check)
	if err == nil && string(key) != string(make([]byte, keySize)) {
		err = ErrWrongMaster
	}
	if err != nil {
		return nil, errors.Join(err, closeMaster(m))
	}
	return m, nil
}

func (r *Ring) record(id ID) (*Record, error) {
	raw, err := input.ReadFile(r.path(id), input.Key)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	var record Record
	if err := json.Unmarshal(raw, &record); err != nil {
		return nil, fmt.Errorf("%s: %w", r.path(id), err)
	}
	if record.ID != id {
		return nil, fmt.Errorf("%s: it is the record of master %s", r.path(id), record.ID)
	}
	return &record, nil
}

// Records lists the masters of the folder, the earliest first, without what is
// secret of them.
func (r *Ring) Records() ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "*.json"))
	var all []Record
	for _, path := range paths {
		var id ID
		if id.UnmarshalText([]byte(strings.TrimSuffix(filepath.Base(path), ".json"))) != nil {
			continue
		}
		record, err := r.record(id)
		if err != nil {
			return nil, err
		}
		clear(record.Params)
		all = append(all, Record{ID: record.ID, Kind: record.Kind, Made: record.Made})
	}
	slices.SortStableFunc(all, func(a, b Record) int { return a.Made.Compare(b.Made) })
	return all, err
}

// Close wipes and closes all masters.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var problems []error
	for id, m := range r.open {
		problems = append(problems, closeMaster(m))
		delete(r.open, id)
	}
	return errors.Join(problems...)
}

func closeMaster(m Master) error {
	if c, ok := m.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
