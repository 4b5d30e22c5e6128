package verify

import (
	"bytes"
	"sync"

	"github.com/google/go-tpm/tpm2"
)

// heads are the beginnings of public areas that were read, up to what is the
// key's own. All TPMs begin theirs in a few ways, which go-tpm reads by
// reflection, each time in as long as four signatures take; what is read of the
// same bytes is the same.
type heads struct {
	mu    sync.Mutex
	known []head // guarded by mu, as the next
	next  int
}

type head struct {
	data   []byte
	public tpm2.TPMTPublic // whose own part is another key's
}

// maxHeads are more than there are templates and algorithms. Who is refused
// adds none.
const maxHeads = 16

// parse is parse[tpm2.TPMTPublic]. The area shares data's memory.
func (h *heads) parse(data []byte) (*tpm2.TPMTPublic, error) {
	for _, known := range h.all() {
		own, ok := bytes.CutPrefix(data, known.data)
		if !ok {
			continue
		}
		public := known.public
		if public.Unique, ok = readUnique(public.Type, own); ok {
			return &public, nil
		}
	}
	return parse[tpm2.TPMTPublic](data)
}

func (h *heads) all() []head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known[:len(h.known):len(h.known)]
}

// readUnique reads what is a key's own, to its end.
func readUnique(kind tpm2.TPMIAlgPublic, own []byte) (tpm2.TPMUPublicID, bool) {
	w := &wire{data: own}
	switch kind {
	case tpm2.TPMAlgRSA:
		n := w.sized()
		return tpm2.NewTPMUPublicID(kind, &tpm2.TPM2BPublicKeyRSA{Buffer: n}), w.end() == nil
	case tpm2.TPMAlgECC:
		x, y := w.sized(), w.sized()
		return tpm2.NewTPMUPublicID(kind, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: y}}), w.end() == nil
	}
	return tpm2.TPMUPublicID{}, false
}

// learn keeps the head of an area that was judged good.
func (h *heads) learn(data []byte, public *tpm2.TPMTPublic) {
	size := 0
	if n, err := public.Unique.RSA(); err == nil && public.Type == tpm2.TPMAlgRSA {
		size = 2 + len(n.Buffer)
	} else if p, err := public.Unique.ECC(); err == nil && public.Type == tpm2.TPMAlgECC {
		size = 2 + len(p.X.Buffer) + 2 + len(p.Y.Buffer)
	}
	if size == 0 || size > len(data) {
		return
	}
	begins := data[:len(data)-size]
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range h.known {
		if bytes.Equal(known.data, begins) {
			return
		}
	}
	fresh := head{bytes.Clone(begins), *public}
	if len(h.known) < maxHeads {
		h.known = append(h.known, fresh)
		return
	}
	h.known = append([]head(nil), h.known...) // others are looking at them
	h.known[h.next] = fresh
	h.next = (h.next + 1) % maxHeads
}
