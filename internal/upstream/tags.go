package upstream

import (
	"sync"
	"time"

	"holdfast/internal/oci"
)

// tags remember for a while what tags were found to name.
type tags struct {
	life time.Duration
	now  func() time.Time

	mu    sync.Mutex
	found map[[2]string]finding // guarded by mu
}

type finding struct {
	digest oci.Digest
	until  time.Time
}

const maxTags = 10_000

// is says whether a tag was found to name d, not long ago.
func (t *tags) is(repository, tag string, d oci.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.found[[2]string{repository, tag}]
	return f.digest == d && t.now().Before(f.until)
}

func (t *tags) note(repository, tag string, d oci.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.found) >= maxTags || t.found == nil {
		t.found = map[[2]string]finding{}
	}
	t.found[[2]string{repository, tag}] = finding{d, t.now().Add(t.life)}
}
