package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// fetches are the blobs that are coming from Sources just now, and the
// manifests that are asked for. Whoever wants what is coming waits for it.
type fetches struct {
	mu        sync.Mutex
	blobs     map[string]*fetch
	manifests map[string]*asked
}

// A fetch is a blob that comes: a file that grows, and those who read it
// behind the writer. Its last byte is not read before the digest was found
// right, so that nobody takes wrong bytes for whole.
type fetch struct {
	registry   *Registry
	repository string
	digest     oci.Digest
	key        string // in fetches.blobs
	limit      int64  // bytes that it may have
	file       *os.File
	cancel     context.CancelFunc

	readers int // guarded by fetches.mu

	mu      sync.Mutex
	grown   *sync.Cond
	total   int64 // -1: not known
	opened  bool  // the source began to answer
	written int64
	done    bool
	err     error
}

// serveFetched serves a blob that the repository lacks, while it comes.
func (r *Registry) serveFetched(w http.ResponseWriter, q *http.Request, repository string, d oci.Digest) error {
	if r.config.ReadOnly {
		return blobUnknown()
	}
	f, err := r.join(repository, d, r.config.MaxBlob)
	if err != nil && q.Method == http.MethodHead {
		return blobUnknown() // so asks a push before it sends; its upload is refused in words
	}
	if err != nil {
		return err
	}
	defer r.leave(f)
	stop := context.AfterFunc(q.Context(), f.wake)
	defer stop()
	total, err := f.begun(q.Context())
	if err != nil {
		return unreachable(err, blobUnknown())
	}
	if q.Header.Get("Range") != "" || q.Method == http.MethodHead && total < 0 {
		if err := f.whole(q.Context()); err != nil {
			return unreachable(err, blobUnknown())
		}
		_, err := r.serveStored(w, q, repository, d)
		return err
	}
	blobHeader(w, d)
	if total >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(total, 10))
	}
	if q.Method == http.MethodHead {
		return nil
	}
	if err := f.copyTo(q.Context(), w); err != nil {
		r.config.Logger.Warn("a blob that was being fetched breaks off", "repository", repository, "digest", d, "cause", err)
		panic(http.ErrAbortHandler) // the client must not take what it has for the blob
	}
	return nil
}

// bring gets a blob of up to size bytes from Sources and waits until the
// repository has it.
func (r *Registry) bring(ctx context.Context, repository string, d oci.Digest, size int64) error {
	f, err := r.join(repository, d, min(size, r.config.MaxBlob))
	if err != nil {
		return err
	}
	defer r.leave(f)
	stop := context.AfterFunc(ctx, f.wake)
	defer stop()
	return f.whole(ctx)
}

// unreachable is what a client is told of a Source's failure.
func unreachable(err error, unknown *problem) error {
	if errors.Is(err, ErrUnknown) {
		return unknown
	}
	if p := asProblem(err); p != nil {
		return p
	}
	return fail(http.StatusBadGateway, "UNKNOWN", "upstream: %.300s", err.Error())
}

// join finds the fetch of a blob or starts it. Who takes fewer bytes does not
// end the fetch of who takes more.
func (r *Registry) join(repository string, d oci.Digest, limit int64) (*fetch, error) {
	r.fetches.mu.Lock()
	defer r.fetches.mu.Unlock()
	key := fmt.Sprintf("%s@%s %d", repository, d, limit)
	if f := r.fetches.blobs[key]; f != nil {
		f.readers++
		return f, nil
	}
	if err := r.admitUpload(); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(r.uploads.dir, "fetch-")
	if err != nil {
		return nil, err
	}
	f := &fetch{registry: r, repository: repository, digest: d, key: key, limit: limit, file: file, total: -1, readers: 1}
	f.grown = sync.NewCond(&f.mu)
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(r.ctx)
	if r.fetches.blobs == nil {
		r.fetches.blobs = map[string]*fetch{}
	}
	r.fetches.blobs[key] = f
	r.background.Go(func() {
		f.finish(f.run(ctx))
		r.leave(f)
	})
	f.readers++ // the writer's own
	return f, nil
}

// leave ends one reader's interest. A blob that nobody waits for any more is
// not fetched further, and nobody joins a fetch that is over or given up.
func (r *Registry) leave(f *fetch) {
	r.fetches.mu.Lock()
	f.readers--
	left := f.readers
	if (left <= 1 || f.isDone()) && r.fetches.blobs[f.key] == f {
		delete(r.fetches.blobs, f.key)
	}
	r.fetches.mu.Unlock()
	if left <= 1 {
		f.cancel()
	}
	if left == 0 {
		_ = f.file.Close()
		_ = os.Remove(f.file.Name())
	}
}

// run brings the blob from the first source that has it. A source that breaks
// off is followed by the next, from where it came to.
func (f *fetch) run(ctx context.Context) error {
	r := f.registry
	sum := newHash(f.digest.Algorithm())
	last := fmt.Errorf("%s: %w", f.digest, ErrUnknown)
	for _, s := range r.config.Sources {
		before := f.written
		body, total, err := s.Blob(ctx, f.repository, f.digest)
		if err != nil {
			last = prefer(last, err)
			continue
		}
		err = errors.Join(f.take(ctx, body, total, sum), body.Close())
		whole := err == nil
		if whole {
			err = f.keep(sum)
		}
		if r.config.Observer != nil {
			r.config.Observer.Fetched(f.written-before, err)
		}
		if last = err; whole || asProblem(err) != nil || ctx.Err() != nil {
			return err
		}
	}
	return last
}

// prefer keeps the error that says more.
func prefer(last, err error) error {
	if errors.Is(err, ErrUnknown) {
		return last
	}
	return err
}

// take appends what a source gives beyond what is there.
func (f *fetch) take(ctx context.Context, body io.Reader, total int64, sum hash.Hash) error {
	if total > f.limit {
		return tooLarge("blob", f.limit)
	}
	if err := f.registry.room(f.repository, max(0, total), max(0, total)); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, body, f.written); err != nil {
		return err
	}
	f.open(total)
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(*buf)
		if f.written+int64(n) > f.limit {
			return tooLarge("blob", f.limit)
		}
		if _, err := f.file.WriteAt((*buf)[:n], f.written); err != nil {
			return err
		}
		sum.Write((*buf)[:n])
		f.grow(n)
		if errors.Is(err, io.EOF) && total >= 0 && f.written < total {
			err = io.ErrUnexpectedEOF
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
}

// keep stores the blob if it is the one that was asked for.
func (f *fetch) keep(sum hash.Hash) error {
	got := oci.Digest(f.digest.Algorithm() + ":" + hex.EncodeToString(sum.Sum(nil)))
	if got != f.digest {
		return &blob.MismatchError{Want: f.digest, Got: got}
	}
	if err := f.file.Chmod(0o644); err != nil {
		return err
	}
	if err := f.registry.create(f.repository); err != nil {
		return err
	}
	return f.registry.store(f.repository, f.digest, f.file.Name(), f.written)
}
