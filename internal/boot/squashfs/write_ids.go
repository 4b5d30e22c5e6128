package squashfs

import (
	"fmt"
	"math"
	"slices"
)

// ids are the owners and groups, which inodes name by their index.
type ids struct{ list []uint32 }

func (i *ids) of(id int) (uint16, error) {
	if id < 0 || int64(id) > math.MaxUint32 {
		return 0, fmt.Errorf("owner %d: want 0 to 2³²−1", id)
	}
	at := slices.Index(i.list, uint32(id))
	if at < 0 {
		at, i.list = len(i.list), append(i.list, uint32(id))
	}
	if at > math.MaxUint16-1 {
		return 0, fmt.Errorf("more than %d owners and groups", math.MaxUint16)
	}
	return uint16(at), nil
}

func (i *ids) table() (raw []byte) {
	for _, id := range i.list {
		raw = le.AppendUint32(raw, id)
	}
	return raw
}
