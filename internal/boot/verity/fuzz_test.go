package verity

import (
	"bytes"
	"testing"

	"holdfast/internal/devmapper"
)

// A superblock that is accepted is written again as it was, but for bytes that
// nobody reads; and the machine's own reader says the same of it.
//
//fuzz:parser superblock.go ../../devmapper/verity.go:ReadSuperblock
func FuzzReadSuperblock(f *testing.F) {
	good := Superblock{DataBlocks: 5, Salt: []byte("salt")}.block()
	f.Add(good)
	f.Add(Superblock{DataBlocks: maxBlocks, Salt: bytes.Repeat([]byte{1}, MaxSalt)}.block()[:512])
	f.Add(good[:511])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadSuperblock(bytes.NewReader(b))
		theirs, errTheirs := devmapper.ReadSuperblock(bytes.NewReader(b))
		if errTheirs == nil && (err != nil || theirs.DataBlocks != uint64(s.DataBlocks) || !bytes.Equal(theirs.Salt, s.Salt)) {
			t.Errorf("got %+v, %v where the machine reads %+v", s, err, theirs)
		}
		if err != nil {
			return
		}
		again, err := ReadSuperblock(bytes.NewReader(s.block()))
		if err != nil || again.UUID != s.UUID || again.DataBlocks != s.DataBlocks || !bytes.Equal(again.Salt, s.Salt) {
			t.Errorf("%+v reads back as %+v, %v", s, again, err)
		}
	})
}

// Whatever the hash device holds, no other data passes under a root hash.
//
//fuzz:parser verify.go superblock.go:ReadSuperblock,check
func FuzzVerify(f *testing.F) {
	data := sample(130) // two bottom blocks under a top
	tree, err := Build(bytes.NewReader(data), testParams)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte(nil), uint32(0), []byte(nil))
	f.Add(uint32(4096*129), []byte{1}, uint32(0), []byte(nil))
	f.Add(uint32(0), []byte(nil), uint32(4096), []byte{1})
	f.Add(uint32(0), []byte(nil), uint32(2*4096+40), []byte("a digest in the bottom level"))
	f.Add(uint32(0), []byte(nil), uint32(80), []byte{1})
	f.Fuzz(func(t *testing.T, dataAt uint32, dataBytes []byte, hashAt uint32, hashBytes []byte) {
		d, h := overwrite(data, dataAt, dataBytes), overwrite(tree.Device(), hashAt, hashBytes)
		if err := Verify(bytes.NewReader(d), bytes.NewReader(h), tree.Root); err == nil && !bytes.Equal(d, data) {
			t.Error("other data passes under the root hash")
		}
		_ = Verify(bytes.NewReader(d), bytes.NewReader(hashBytes), tree.Root)
		if err := Verify(bytes.NewReader(data), bytes.NewReader(h[:int(hashAt)%len(h)]), tree.Root); err == nil {
			t.Error("a hash device that is cut off passes")
		}
	})
}

func overwrite(b []byte, at uint32, with []byte) []byte {
	b = bytes.Clone(b)
	copy(b[int(at)%len(b):], with)
	return b
}
