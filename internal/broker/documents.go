package broker

import (
	"crypto/sha256"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/attest/initdata"
)

// Bounds on the documents that are remembered: 4 MiB of text at most.
const (
	maxDocuments = 256
	maxDocument  = 16 << 10
)

// documents are init-data documents that were read before, as machines with
// one configuration send the same. What a document says follows from its text
// alone, whose digest is the key; nobody alters it.
type documents struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*initdata.Document // guarded by mu
}

func (d *documents) parse(m *api.InitDataMessage) (*initdata.Document, error) {
	if m == nil || len(m.Body) > maxDocument || m.Format != "toml" {
		return initdata.Parse(m)
	}
	key := sha256.Sum256([]byte(m.Body))
	d.mu.Lock()
	known := d.all[key]
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	fresh, err := initdata.Parse(m)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil || len(d.all) >= maxDocuments {
		d.all = map[[sha256.Size]byte]*initdata.Document{}
	}
	d.all[key] = fresh
	return fresh, nil
}
