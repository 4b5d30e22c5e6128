package peer

import (
	"fmt"
	"testing"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

func TestWhatNobodyAskedForAndAPeerSaysItLacksTakesNoMemory(t *testing.T) {
	w := newWants()
	asked, err := ipfs.DigestCID(oci.SHA256([]byte("asked")))
	if err != nil {
		t.Fatal(err)
	}
	one, other := w.add(asked, "one"), w.add(asked, "other")
	for i := range 100 {
		c, err := ipfs.DigestCID(oci.SHA256(fmt.Append(nil, i)))
		if err != nil {
			t.Fatal(err)
		}
		w.refuse(c, "one")
	}
	w.refuse(asked, "one")
	if len(w.waiting) != 1 || len(one.answer) != 1 || len(other.answer) != 0 {
		t.Errorf("%d blocks waited for, %d and %d answers; want 1, 1 and 0", len(w.waiting), len(one.answer), len(other.answer))
	}
	w.remove(asked, one)
	w.remove(asked, other)
	if len(w.waiting) != 0 {
		t.Errorf("%d blocks are waited for by nobody", len(w.waiting))
	}
}
