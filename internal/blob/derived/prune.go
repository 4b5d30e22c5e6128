package derived

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Prune removes what was longest not used, until the cache holds no more than
// its limit.
func (c *Cache) Prune() error {
	if c == nil {
		return nil
	}
	files, err := c.files()
	if err != nil {
		return err
	}
	var sum int64
	for _, f := range files {
		if sum += f.size; sum <= c.limit {
			continue
		}
		if err := os.Remove(f.path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

type file struct {
	path string
	size int64
	used time.Time
}

// files are those of the cache, the last used first.
func (c *Cache) files() ([]file, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() { // else another process removed it
			files = append(files, file{filepath.Join(c.dir, e.Name()), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.path, b.path)) })
	return files, nil
}
