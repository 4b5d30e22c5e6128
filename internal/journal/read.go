package journal

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// A FormError says that a file is no journal from here on.
type FormError struct {
	Offset int64
	What   string
}

func (e *FormError) Error() string { return fmt.Sprintf("journal, byte %d: %s", e.Offset, e.What) }

// errHalf is an entry that is not there as a whole, or not yet.
var errHalf = errors.New("half an entry")

// read gives the next entry; io.EOF where the journal ends, errHalf where it
// ends within an entry. The offset tells a *FormError where it is.
func read(r io.Reader, offset int64) (e Entry, size int64, err error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = errHalf
		}
		return e, 0, err
	}
	e.Time = time.Unix(0, int64(binary.BigEndian.Uint64(head[:])))
	e.Stream = Stream(head[8])
	length := binary.BigEndian.Uint32(head[9:])
	if e.Stream < Stdout || e.Stream > Note || length > maxData {
		return e, 0, &FormError{offset, fmt.Sprintf("stream %d with %d bytes", e.Stream, length)}
	}
	e.Data = make([]byte, length)
	if _, err := io.ReadFull(r, e.Data); err != nil {
		return e, 0, errHalf
	}
	return e, header + int64(length), nil
}

// Read calls emit with each entry of the journal at path. A journal whose
// writer was killed ends before the entry that is not whole.
func Read(path string, emit func(Entry) error) error {
	return Follow(context.Background(), path, func() bool { return true }, emit)
}

// pollEvery is how soon a follower sees what was written.
const pollEvery = 100 * time.Millisecond

// Follow is Read that goes on until over says that nobody writes any more, or
// ctx ends.
func Follow(ctx context.Context, path string, over func() bool, emit func(Entry) error) error {
	f := follower{path: path, emit: emit}
	if err := f.start(); err != nil {
		return err
	}
	defer func() { _ = f.file.Close() }()
	for {
		last := over() // asked before reading: what was written until then is there
		if err := f.drain(); err != nil {
			return err
		}
		if last {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// A follower stands at an offset of the newer file.
type follower struct {
	path   string
	emit   func(Entry) error
	file   *os.File
	offset int64
}

// start reads the older half and opens the newer one.
func (f *follower) start() error {
	old, newer, err := f.halves()
	if err != nil {
		return err
	}
	if f.file = newer; old == nil {
		return nil
	}
	f.file = old
	if err := f.rest(); err != nil {
		return errors.Join(err, old.Close(), newer.Close())
	}
	f.file, f.offset = newer, 0
	return old.Close()
}

// halves opens both files as they are between two turns of the writer; there
// may be no older one.
func (f *follower) halves() (old, newer *os.File, err error) {
	for end := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		newer, err = os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) && isThere(older(f.path)) && time.Now().Before(end) {
			continue // just between the writer's two steps
		}
		if err != nil {
			return nil, nil, err
		}
		if old, err = os.Open(older(f.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = newer.Close()
			return nil, nil, err
		}
		mine, err := newer.Stat()
		there, again := os.Stat(f.path)
		if err == nil && again == nil && os.SameFile(mine, there) {
			return old, newer, nil
		}
		_ = newer.Close()
		_ = old.Close()
		if err != nil || time.Now().After(end) {
			return nil, nil, errors.Join(fmt.Errorf("journal %s turns while it is opened", f.path), err, again)
		}
	}
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// drain reads all there is, through every turn of the writer.
func (f *follower) drain() error {
	for {
		if err := f.rest(); err != nil {
			return err
		}
		next, err := f.turned()
		if err != nil || next == nil {
			return err
		}
		if err := f.rest(); err != nil { // what came before the turn
			return errors.Join(err, next.Close())
		}
		_ = f.file.Close()
		f.file, f.offset = next, 0
	}
}

// turned opens the file that took the place of ours, if one did.
func (f *follower) turned() (*os.File, error) {
	next, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // just between the writer's two steps, or removed
	}
	if err != nil {
		return nil, err
	}
	mine, err1 := f.file.Stat()
	there, err2 := next.Stat()
	if err := errors.Join(err1, err2); err != nil || os.SameFile(mine, there) {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

// rest reads from the offset to the last whole entry.
func (f *follower) rest() error {
	if _, err := f.file.Seek(f.offset, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(f.file, maxData)
	for {
		e, n, err := read(r, f.offset)
		if err == io.EOF || errors.Is(err, errHalf) {
			return nil
		}
		if err == nil {
			err = f.emit(e)
		}
		if err != nil {
			return err
		}
		f.offset += n
	}
}
