package seal

import (
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"sync"
	"syscall"
)

// dataKeys bounds the data keys in memory: 64 KiB, which fits in the least that
// Linux lets everybody lock.
const dataKeys = 2048

// dontDump is MADV_DONTDUMP of madvise(2), which package syscall lacks.
const dontDump = 16

// A vault is memory for keys that is neither swapped nor dumped, where the
// kernel allows. When it is full the oldest key makes room.
type vault struct {
	mu    sync.RWMutex
	pages []byte                    // guarded by mu; nil once closed
	at    map[[sha256.Size]byte]int // guarded by mu: slot of a key
	names []*[sha256.Size]byte      // guarded by mu: whose a slot is
	next  int                       // guarded by mu
}

func newVault(slots int) *vault {
	v := &vault{at: map[[sha256.Size]byte]int{}, names: make([]*[sha256.Size]byte, slots)}
	pages, err := syscall.Mmap(-1, 0, slots*keySize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil { // then ordinary memory has to do
		v.pages = make([]byte, slots*keySize)
		return v
	}
	_ = syscall.Mlock(pages)
	_ = syscall.Madvise(pages, dontDump)
	v.pages = pages
	return v
}

func (v *vault) get(name [sha256.Size]byte) (cipher.AEAD, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	slot, ok := v.at[name]
	if !ok || v.pages == nil {
		return nil, false
	}
	aead, err := newGCM(v.key(slot))
	return aead, err == nil
}

func (v *vault) put(name [sha256.Size]byte, key []byte) (cipher.AEAD, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pages == nil {
		return nil, errors.New("the sealer is closed")
	}
	slot, ok := v.at[name]
	if !ok {
		slot, v.next = v.next, (v.next+1)%len(v.names)
		if old := v.names[slot]; old != nil {
			delete(v.at, *old)
		}
		v.at[name], v.names[slot] = slot, &name
	}
	copy(v.key(slot), key)
	return newGCM(key)
}

func (v *vault) key(slot int) []byte { return v.pages[slot*keySize : (slot+1)*keySize] }

func (v *vault) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pages == nil {
		return nil
	}
	clear(v.pages)
	clear(v.at)
	pages := v.pages
	v.pages = nil
	if err := syscall.Munmap(pages); err != nil && !errors.Is(err, syscall.EINVAL) { // ordinary memory
		return err
	}
	return nil
}
