package components

import (
	"os"
	"path/filepath"
	"regexp"
	"time"
)

const (
	// unfinished begins the names of folders that are being filled. Only who
	// has the lock makes and removes them.
	unfinished = ".new-"
	// unused is how long a build is kept that nobody asks for.
	unused = 7 * 24 * time.Hour
)

// used says whether a build is there, and notes that it was asked for.
func used(dir string) bool {
	now := time.Now()
	return os.Chtimes(dir, now, now) == nil
}

// collect removes what killed builds left, and builds of a module that nobody
// asked for in a week.
func (b *builder) collect(module string) {
	left, _ := filepath.Glob(filepath.Join(b.Dir, unfinished+"*"))
	old, _ := filepath.Glob(filepath.Join(b.Dir, module+"-*"))
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > unused {
			left = append(left, dir)
		}
	}
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
}

// A ModulesError tells that sources from elsewhere could not be had.
type ModulesError struct{ error }

func (e *ModulesError) Unwrap() error { return e.error }

// Hint says what a person can do.
func (e *ModulesError) Hint() string {
	return `the first build needs a Go module proxy: see "go env GOPROXY"; what was downloaded once is kept`
}

// unreachable is how go tells that it got no module: golang.org/ref/mod.
var unreachable = regexp.MustCompile(`Get "https?://|reading https?://|module lookup disabled|dial tcp`)

func explain(err error) error {
	if unreachable.MatchString(err.Error()) {
		return &ModulesError{err}
	}
	return err
}
