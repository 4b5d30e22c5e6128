package registry

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// Quota bounds what may be stored, in bytes. A blob counts once in all, and
// once in each repository that has it.
type Quota struct {
	Total      int64 // 0: as much as the disk holds
	Repository int64 // in each; 0: as much as in all
	Reserve    int64 // of the disk, that uploads leave free for the rest to work; 8 MiB, or a sixteenth of a small disk, when 0
}

// usage is what is stored, counted only where a quota asks for it: in all
// from the first push on, in a repository from the first push to it on.
type usage struct {
	registry *Registry
	counting sync.Once

	mu           sync.Mutex
	total        int64
	repositories map[string]int64
}

func newUsage(r *Registry) *usage { return &usage{registry: r, repositories: map[string]int64{}} }

func overQuota(what string, limit int64) *problem {
	return fail(http.StatusForbidden, "DENIED", "%s would hold more than its quota of %d bytes", what, limit)
}

// admitUpload refuses an upload that cannot end well.
func (r *Registry) admitUpload() error { return r.room("", 0, 0) }

// room refuses size more bytes of a repository, and so many in all, that are
// known to be too many.
func (r *Registry) room(repository string, size, inAll int64) error {
	free, reserve, err := r.free()
	if err == nil && free-size < reserve {
		return diskFull()
	}
	return r.usage.count(repository, size, inAll, false)
}

// free is how many bytes the disk can take, and how many of them are to stay.
func (r *Registry) free() (free, reserve int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(r.config.Dir, &s); err != nil {
		return 0, 0, err
	}
	if reserve = r.config.Quota.Reserve; reserve <= 0 {
		reserve = min(8<<20, int64(s.Blocks)*s.Bsize/16)
	}
	return int64(s.Bavail) * s.Bsize, reserve, nil
}

// charge counts a blob and has get give it to the repository, or refuses. What
// get fails at is not counted.
func (r *Registry) charge(repository string, d oci.Digest, size int64, get func() error) error {
	if _, err := os.Lstat(r.link(repository, d)); err == nil {
		return get()
	}
	inAll := r.inAll(d, size)
	if err := r.usage.count(repository, size, inAll, true); err != nil {
		return err
	}
	err := get()
	if err != nil {
		r.usage.freed(repository, size)
		r.usage.removed(inAll)
	}
	return err
}

// inAll is how many bytes more the registry holds with a blob.
func (r *Registry) inAll(d oci.Digest, size int64) int64 {
	if _, err := r.pool.Stat(d); err == nil {
		return 0
	}
	return size
}

// count says whether size more bytes of a repository fit, and so many in all,
// and counts them if they are taken.
func (u *usage) count(repository string, size, inAll int64, taken bool) error {
	q := u.registry.config.Quota
	if q.Total > 0 {
		u.counting.Do(u.countTotal)
	}
	if q.Repository > 0 && repository != "" {
		if err := u.countRepository(repository); err != nil {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if q.Total > 0 && inAll > 0 && u.total+inAll > q.Total {
		return overQuota("the registry", q.Total)
	}
	if q.Repository > 0 && u.repositories[repository]+size > q.Repository {
		return overQuota("the repository", q.Repository)
	}
	if !taken {
		return nil
	}
	u.total += inAll
	if _, counted := u.repositories[repository]; counted {
		u.repositories[repository] += size
	}
	return nil
}

// freed says that a repository has size bytes less.
func (u *usage) freed(repository string, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, counted := u.repositories[repository]; counted {
		u.repositories[repository] -= size
	}
}

// removed says that the pool has size bytes less.
func (u *usage) removed(size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.total -= size
}

// countTotal counts the pool beside the pushes, which go by what was counted
// so far: with a million blobs it takes seconds.
func (u *usage) countTotal() {
	r := u.registry
	r.background.Go(func() {
		err := r.pool.Walk(r.ctx, func(i pool.Info) error {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.total += i.Size
			return nil
		})
		if err != nil && r.ctx.Err() == nil {
			r.config.Logger.Error("blobs cannot be counted", "cause", err)
		}
	})
}

func (u *usage) countRepository(repository string) error {
	u.mu.Lock()
	_, counted := u.repositories[repository]
	u.mu.Unlock()
	if counted {
		return nil
	}
	size := int64(0)
	err := eachLink(u.registry.folder(repository), func(_ oci.Digest, info fs.FileInfo) error {
		size += info.Size()
		return nil
	})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, counted := u.repositories[repository]; !counted {
		u.repositories[repository] = size
	}
	return nil
}

// eachLink visits the blobs of a layout.
func eachLink(folder string, visit func(oci.Digest, fs.FileInfo) error) error {
	for _, algorithm := range []string{"sha256", "sha512"} {
		dir, err := os.Open(filepath.Join(folder, "blobs", algorithm))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(eachFile(dir, algorithm, visit), dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

func eachFile(dir *os.File, algorithm string, visit func(oci.Digest, fs.FileInfo) error) error {
	for {
		entries, end := dir.ReadDir(1024)
		for _, entry := range entries {
			d, err := oci.ParseDigest(algorithm + ":" + entry.Name())
			if err != nil {
				continue
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = visit(d, info)
			}
			if err != nil {
				return err
			}
		}
		if len(entries) == 0 { // end is io.EOF, or the folder cannot be read
			return ignoreEOF(end)
		}
	}
}
