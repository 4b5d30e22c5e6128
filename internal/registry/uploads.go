package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// The bounds on unfinished uploads. In a repository the oldest give way;
// when there are too many in all, new ones are refused.
const (
	maxUploads      = 10_000
	maxInRepository = 100
)

// sweepEvery bounds how often expired uploads are looked for.
const sweepEvery = time.Minute

// uploads are the sessions of uploads under way. What came lies in a file of
// dir that is named for the repository and the session, so that an upload can
// be gone on with after a restart; a session without a byte has no file.
type uploads struct {
	dir    string
	expiry time.Duration

	mu    sync.Mutex
	live  map[string]*upload // by path
	swept time.Time
}

// An upload is held by one request at a time.
type upload struct {
	id         string
	repository string
	path       string
	used       time.Time // guarded by uploads.mu

	mu   sync.Mutex
	size int64
	hash hash.Hash // of what came; nil when the file must be read again
	over bool
}

// sessionForm is RFC 9562's of a UUID, which the spec wants sessions to have.
var sessionForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func newSession() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func openUploads(dir string, expiry time.Duration) (*uploads, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	u := &uploads{dir: dir, expiry: expiry, live: map[string]*upload{}}
	u.sweep(time.Now())
	return u, nil
}

func (u *uploads) path(repository, id string) string {
	sum := sha256.Sum256([]byte(repository))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:8])+"-"+id)
}

// begin starts an upload to a repository.
func (u *uploads) begin(repository string) (*upload, error) {
	u.sweep(time.Now())
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.live) >= maxUploads {
		return nil, fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many uploads under way").with("Retry-After", "60")
	}
	u.giveWay(repository)
	id := newSession()
	s := &upload{id: id, repository: repository, path: u.path(repository, id), used: time.Now()}
	u.live[s.path] = s
	return s, nil
}

// giveWay ends the oldest idle upload of a repository that has too many.
func (u *uploads) giveWay(repository string) {
	if len(u.live) < maxInRepository {
		return
	}
	var oldest *upload
	n := 0
	for _, s := range u.live {
		if s.repository != repository {
			continue
		}
		if n++; oldest == nil || s.used.Before(oldest.used) {
			oldest = s
		}
	}
	if n >= maxInRepository && oldest.mu.TryLock() {
		u.forget(oldest)
		oldest.mu.Unlock()
	}
}

// forget ends a session; both locks are held.
func (u *uploads) forget(s *upload) {
	s.over = true
	delete(u.live, s.path)
	_ = os.Remove(s.path)
}

// take finds a session and holds it until release.
func (u *uploads) take(repository, id string) (*upload, error) {
	unknown := fail(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
	if !sessionForm.MatchString(id) {
		return nil, unknown
	}
	u.mu.Lock()
	path := u.path(repository, id)
	s := u.live[path]
	if s == nil {
		info, err := os.Stat(path)
		if err != nil {
			u.mu.Unlock()
			return nil, unknown
		}
		s = &upload{id: id, repository: repository, path: path, size: info.Size()}
		u.live[path] = s
	}
	s.used = time.Now()
	u.mu.Unlock()
	if !s.mu.TryLock() {
		return nil, fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "another request is at this upload").with("Retry-After", "1")
	}
	if s.over {
		s.mu.Unlock()
		return nil, unknown
	}
	return s, nil
}

func (u *uploads) release(s *upload) {
	u.mu.Lock()
	s.used = time.Now()
	u.mu.Unlock()
	s.mu.Unlock()
}

// drop ends a session that is held.
func (u *uploads) drop(s *upload) {
	u.mu.Lock()
	u.forget(s)
	u.mu.Unlock()
}

// sweep ends what nobody went on with.
func (u *uploads) sweep(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.swept) < min(sweepEvery, u.expiry) {
		return
	}
	u.swept = now
	for _, s := range u.live {
		if now.Sub(s.used) > u.expiry && s.mu.TryLock() {
			u.forget(s)
			s.mu.Unlock()
		}
	}
	entries, _ := os.ReadDir(u.dir)
	for _, entry := range entries {
		path := filepath.Join(u.dir, entry.Name())
		info, err := entry.Info()
		if err == nil && u.live[path] == nil && now.Sub(info.ModTime()) > u.expiry {
			_ = os.Remove(path)
		}
	}
}
