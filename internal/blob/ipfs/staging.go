package ipfs

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"
)

// staging holds the blocks that were put last, up to a number of bytes.
type staging struct {
	limit int64

	mu     sync.Mutex // guards what follows
	size   int64
	blocks map[string]*list.Element // by multihash
	order  *list.List               // of staged, the one used last in front
}

type staged struct {
	hash  string
	bytes []byte
}

func newStaging(limit int64) *staging {
	return &staging{limit: limit, blocks: map[string]*list.Element{}, order: list.New()}
}

// put keeps b, which must be what c names.
func (s *staging) put(c cid.Cid, b []byte) error {
	if len(b) > MaxBlock {
		return fmt.Errorf("block %s: %d bytes, more than %d", c, len(b), MaxBlock)
	}
	got, err := c.Prefix().Sum(b)
	if err != nil {
		return fmt.Errorf("block %s: %w", c, err)
	}
	if !got.Equals(c) {
		return fmt.Errorf("block %s: its bytes are %s", c, got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := string(c.Hash())
	if _, ok := s.blocks[hash]; ok {
		return nil
	}
	s.blocks[hash] = s.order.PushFront(staged{hash, b})
	s.size += int64(len(b))
	for s.size > s.limit {
		s.drop(s.order.Back())
	}
	return nil
}

func (s *staging) get(c cid.Cid) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.blocks[string(c.Hash())]
	if !ok {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(staged).bytes
}

func (s *staging) remove(c cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.blocks[string(c.Hash())]; ok {
		s.drop(e)
	}
}

// drop forgets a block. Caller holds mu.
func (s *staging) drop(e *list.Element) {
	b := s.order.Remove(e).(staged)
	delete(s.blocks, b.hash)
	s.size -= int64(len(b.bytes))
}
