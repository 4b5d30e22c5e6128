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
	f, err := r.join(repository, d)
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

// join finds the fetch of a blob or starts it.
func (r *Registry) join(repository string, d oci.Digest) (*fetch, error) {
	r.fetches.mu.Lock()
	defer r.fetches.mu.Unlock()
	key := repository + "@" + string(d)
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
	f := &fetch{registry: r, repository: repository, digest: d, file: file, total: -1, readers: 1}
	f.grown = sync.NewCond(&f.mu)
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(r.ctx)
	if r.fetches.blobs == nil {
		r.fetches.blobs = map[string]*fetch{}
	}
	r.fetches.blobs[key] = f
	r.background.Go(func() {
		f.finish(f.run(ctx))
		r.fetches.mu.Lock()
		delete(r.fetches.blobs, key)
		r.fetches.mu.Unlock()
		r.leave(f)
	})
	f.readers++ // the writer's own
	return f, nil
}

// leave ends one reader's interest. A blob that nobody waits for any more is
// not fetched further.
func (r *Registry) leave(f *fetch) {
	r.fetches.mu.Lock()
	f.readers--
	left := f.readers
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
		body, total, err := s.Blob(ctx, f.repository, f.digest)
		if err != nil {
			last = prefer(last, err)
			continue
		}
		err = errors.Join(f.take(ctx, body, total, sum), body.Close())
		if r.config.Observer != nil {
			r.config.Observer.Fetched(f.written, err)
		}
		if err == nil {
			return f.keep(sum)
		}
		if last = err; asProblem(err) != nil || ctx.Err() != nil {
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
	limit := f.registry.config.MaxBlob
	if total > limit {
		return tooLarge("blob", limit)
	}
	if err := f.registry.room(f.repository, max(0, total)); err != nil {
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
		if f.written+int64(n) > limit {
			return tooLarge("blob", limit)
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

func (f *fetch) open(total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.opened {
		f.opened, f.total = true, total
	}
	f.grown.Broadcast()
}

func (f *fetch) grow(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written += int64(n)
	f.grown.Broadcast()
}

func (f *fetch) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.err = true, err
	f.grown.Broadcast()
}

func (f *fetch) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grown.Broadcast()
}

// wait blocks until ready says so or the client is gone; f.mu is held.
func (f *fetch) wait(ctx context.Context, ready func() bool) error {
	for !ready() && !f.done {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.grown.Wait()
	}
	if f.done && f.err != nil {
		return f.err
	}
	return nil
}

// begun waits for a source to answer, and gives the blob's size if it knows.
func (f *fetch) begun(ctx context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.wait(ctx, func() bool { return f.opened })
	return f.total, err
}

func (f *fetch) whole(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wait(ctx, func() bool { return false })
}

// copyTo sends the blob as it comes.
func (f *fetch) copyTo(ctx context.Context, w http.ResponseWriter) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for at := int64(0); ; {
		end, done, err := f.readable(ctx, at)
		if err != nil || done && at == end {
			return err
		}
		n, err := f.file.ReadAt((*buf)[:min(int64(len(*buf)), end-at)], at)
		if n == 0 {
			return err
		}
		if _, err := w.Write((*buf)[:n]); err != nil {
			return err
		}
		if at += int64(n); at == end {
			_ = http.NewResponseController(w).Flush() // best effort
		}
	}
}

// readable waits for bytes after at, and says where they end: before the last
// one until the digest was found right.
func (f *fetch) readable(ctx context.Context, at int64) (end int64, done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.wait(ctx, func() bool { return f.written-1 > at }); err != nil {
		return 0, false, err
	}
	if f.done {
		return f.written, true, nil
	}
	return f.written - 1, false, nil
}

// asked is a manifest that a Source is asked for.
type asked struct {
	over chan struct{}
	m    *Manifest
	err  error
}

// fetchManifest asks the Sources for a manifest and keeps it. Many who ask at
// once cause one question.
func (r *Registry) fetchManifest(ctx context.Context, repository, reference string, have oci.Digest) (*Manifest, error) {
	if r.config.ReadOnly {
		return nil, manifestUnknown()
	}
	key := repository + " " + reference
	r.fetches.mu.Lock()
	a := r.fetches.manifests[key]
	if a == nil {
		a = &asked{over: make(chan struct{})}
		if r.fetches.manifests == nil {
			r.fetches.manifests = map[string]*asked{}
		}
		r.fetches.manifests[key] = a
		r.background.Go(func() {
			a.m, a.err = r.askSources(repository, reference, have)
			r.fetches.mu.Lock()
			delete(r.fetches.manifests, key)
			r.fetches.mu.Unlock()
			close(a.over)
		})
	}
	r.fetches.mu.Unlock()
	select {
	case <-a.over:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.err != nil {
		return nil, unreachable(a.err, manifestUnknown())
	}
	return a.m, nil
}

func (r *Registry) askSources(repository, reference string, have oci.Digest) (*Manifest, error) {
	last := fmt.Errorf("%s: %w", reference, ErrUnknown)
	for _, s := range r.config.Sources {
		m, err := s.Manifest(r.ctx, repository, reference, have)
		if err != nil {
			last = prefer(last, err)
			continue
		}
		return r.keepManifest(repository, reference, have, m)
	}
	return nil, last
}

// keepManifest checks what a Source gave and stores it, unless it is what the
// registry has.
func (r *Registry) keepManifest(repository, reference string, have oci.Digest, m Manifest) (*Manifest, error) {
	if m.Body == nil && have != "" && m.Digest == have {
		e, err := r.index.Manifest(repository, have)
		if err != nil {
			return nil, err
		}
		return r.read(repository, e, reference)
	}
	algorithm, tags := "sha256", []string{reference}
	if d, err := oci.ParseDigest(reference); err == nil {
		algorithm, tags = d.Algorithm(), nil
	}
	got := hashed(algorithm, m.Body)
	if tags == nil && string(got) != reference {
		return nil, &blob.MismatchError{Want: oci.Digest(reference), Got: got}
	}
	if int64(len(m.Body)) > r.config.MaxManifest {
		return nil, tooLarge("manifest", r.config.MaxManifest)
	}
	parsed, err := parseDocument(m.MediaType, m.Body)
	if err != nil {
		return nil, err
	}
	m.Digest, m.MediaType, m.Tag = got, parsed.MediaType, ""
	if tags != nil {
		m.Tag = reference
	}
	if err := r.create(repository); err != nil {
		return nil, err
	}
	return &m, r.commit(repository, &m, parsed, tags, nil)
}
