// Package journal keeps what a workload said: both of its streams, in order
// and with the time, in no more than so many bytes.
//
// Whoever writes is never held up or failed by its journal: when it is full
// the oldest half goes, when the disk is full the newest bytes do, and a note
// in the journal says how many. Whoever reads gets the bytes as they were,
// also of a writer that was killed in the middle of a word.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A Stream is where an entry's bytes came from.
type Stream byte

// The streams of a workload, and what the journal itself has to say.
const (
	Stdout Stream = 1
	Stderr Stream = 2
	Note   Stream = 3
)

// An Entry is what one write brought.
type Entry struct {
	Time   time.Time
	Stream Stream
	Data   []byte
}

const (
	header  = 13       // time in nanoseconds since 1970, stream, length; big endian
	maxData = 64 << 10 // bytes of one entry
)

// DefaultSize is how much a journal keeps.
const DefaultSize = 16 << 20

// A Writer adds to the journal in a file. There is one for each journal.
type Writer struct {
	path  string
	limit int64 // of each of the two files
	now   func() time.Time

	mu      sync.Mutex
	file    *os.File // guarded by mu, as are all below
	size    int64
	dropped int64 // with the oldest half
	lost    int64 // because nothing could be written
	why     error
}

// Create starts the journal at path, which keeps at most limit bytes there
// and in a second file beside it.
func Create(path string, limit int64) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	return &Writer{path: path, limit: limit / 2, now: time.Now, file: f}, err
}

// Stream gives the writer of one stream. It takes everything, always.
func (w *Writer) Stream(s Stream) io.Writer { return stream{w, s} }

type stream struct {
	w *Writer
	s Stream
}

func (s stream) Write(p []byte) (int, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxData)
		s.w.keep(s.s, rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

// keep adds an entry, and before it what was lost; mu is held.
func (w *Writer) keep(s Stream, data []byte) {
	if w.size+header+int64(len(data)) > w.limit {
		w.turn()
	}
	if w.lost > 0 && w.add(Note, fmt.Appendf(nil, "%d bytes were lost: %v", w.lost, w.why)) == nil {
		w.lost = 0
	}
	if err := w.add(s, data); err != nil {
		w.lost += int64(len(data))
		w.why = err
	}
}

func (w *Writer) add(s Stream, data []byte) error {
	if w.file == nil {
		return w.why
	}
	entry := make([]byte, header, header+len(data))
	binary.BigEndian.PutUint64(entry, uint64(w.now().UnixNano()))
	entry[8] = byte(s)
	binary.BigEndian.PutUint32(entry[9:], uint32(len(data)))
	n, err := w.file.Write(append(entry, data...))
	if err != nil && n > 0 { // half an entry would hide all that follow
		err = errors.Join(err, w.file.Truncate(w.size))
		_, _ = w.file.Seek(w.size, io.SeekStart)
		return err
	}
	w.size += int64(n)
	return err
}

// turn makes the file the older half and starts a new one.
func (w *Writer) turn() {
	if info, err := os.Stat(older(w.path)); err == nil {
		w.dropped += info.Size()
	}
	if w.file != nil {
		_ = w.file.Close()
	}
	err := os.Rename(w.path, older(w.path))
	w.file, w.size = nil, 0
	if err == nil {
		w.file, err = os.OpenFile(w.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	}
	if w.why = err; err == nil && w.dropped > 0 {
		_ = w.add(Note, fmt.Appendf(nil, "about %d bytes of older output were dropped", w.dropped))
	}
}

func older(path string) string { return path + ".1" }

// Close ends the journal.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return w.why
	}
	return w.file.Close()
}
