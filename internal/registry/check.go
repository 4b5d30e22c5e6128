package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// Disks forget, and say nothing. So a blob is hashed before it is given out,
// unless it was found right a moment ago: hashing each time would halve what
// the registry gives, and what was just read comes from memory, not from the
// disk.

// longest is the size from which on a client does not wait for a blob to be
// read before it gets the first byte. It waits for the last one.
const longest = 1 << 30

// sightings are the files that were found right lately.
type sightings struct {
	window time.Duration // for which one counts; never when negative
	checks singleflight.Group

	mu   sync.Mutex
	seen map[oci.Digest]sighting
}

// maxSightings bounds them; one takes some 200 bytes.
const maxSightings = 16 << 10

// A sighting is of a file, whatever its names: a link more or less, which the
// time of its status tells of, changes no byte.
type sighting struct {
	device, inode  uint64
	size, modified int64
	at             time.Time
}

func sight(info fs.FileInfo) sighting {
	s := info.Sys().(*syscall.Stat_t)
	return sighting{device: s.Dev, inode: s.Ino, size: info.Size(), modified: info.ModTime().UnixNano()}
}

func (s *sightings) has(d oci.Digest, info fs.FileInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, want := s.seen[d], sight(info)
	want.at = last.at
	return last == want && time.Since(last.at) < s.window
}

// add says that the file is what d names. When there are too many sightings,
// any one is forgotten.
func (s *sightings) add(d oci.Digest, info fs.FileInfo) {
	if s.window < 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[oci.Digest]sighting{}
	}
	if len(s.seen) >= maxSightings {
		for one := range s.seen {
			delete(s.seen, one)
			break
		}
	}
	now := sight(info)
	now.at = time.Now()
	s.seen[d] = now
}

// check makes sure that the file, which is the pool's d, is what d names. Many
// who ask at once cause one reading. What is not goes to quarantine, and the
// error wraps blob.ErrNotFound then.
func (r *Registry) check(ctx context.Context, d oci.Digest, f *os.File, info fs.FileInfo) error {
	if r.pool == nil || r.sightings.has(d, info) {
		return nil
	}
	key := fmt.Sprint(d, sight(info))
	_, err, _ := r.sightings.checks.Do(key, func() (any, error) { return nil, r.hash(ctx, d, f, info, io.Discard) })
	if over := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded); over && ctx.Err() == nil { // he who began, not this one
		return r.check(ctx, d, f, info)
	}
	return err
}

// checkPooled is check of whatever the pool calls d.
func (r *Registry) checkPooled(ctx context.Context, d oci.Digest) error {
	f, err := r.pool.File(d)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return r.check(ctx, d, f, info)
}

// hash reads the file and writes it to w, whose last byte comes when all was
// found right.
func (r *Registry) hash(ctx context.Context, d oci.Digest, f *os.File, info fs.FileInfo, w io.Writer) error {
	in, err := blob.NewReader(d, blob.Until(ctx, io.NewSectionReader(f, 0, info.Size())))
	if err != nil {
		return err
	}
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(in, info.Size()-1), *buf)
	var last []byte
	if err == nil {
		last, err = io.ReadAll(in)
	}
	var rotten *blob.MismatchError
	if errors.As(err, &rotten) || errors.Is(err, syscall.EIO) {
		r.config.Logger.Error("a blob has rotted", "digest", d, "cause", err)
		return errors.Join(fmt.Errorf("%s: %w", d, blob.ErrNotFound), err, r.pool.Isolate(d, f))
	}
	if err == nil {
		r.sightings.add(d, info)
		_, err = w.Write(last)
	}
	return err
}

// isStreamed says whether a client shall get a blob while it is hashed.
func (r *Registry) isStreamed(q *http.Request, d oci.Digest, info fs.FileInfo) bool {
	h := q.Header
	return r.pool != nil && q.Method == http.MethodGet && h.Get("Range")+h.Get("If-Match")+h.Get("If-None-Match") == "" &&
		(info.Size() > longest || r.sightings.window < 0) && !r.sightings.has(d, info)
}

// stream gives a blob out while it is hashed. A client who was given wrong
// bytes sees the connection break before the last one.
func (r *Registry) stream(w http.ResponseWriter, q *http.Request, d oci.Digest, f *os.File, info fs.FileInfo) {
	blobHeader(w, d)
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	if err := r.hash(q.Context(), d, f, info, w); err != nil {
		panic(http.ErrAbortHandler)
	}
}
