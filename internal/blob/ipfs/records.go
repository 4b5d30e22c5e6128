package ipfs

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	bolt "go.etcd.io/bbolt"

	"holdfast/internal/oci"
)

// record is what the index knows of a blob's DAG.
type record struct {
	number []byte // N
	size   int64
	root   cid.Cid
}

func (x *index) dag(d oci.Digest) (found *record, err error) {
	err = x.view(func(tx *bolt.Tx) error {
		found, err = dagOf(tx, d)
		return err
	})
	return found, err
}

func dagOf(tx *bolt.Tx, d oci.Digest) (*record, error) {
	dags := tx.Bucket(dagsBucket)
	if dags == nil {
		return nil, nil
	}
	v := dags.Get(digestKey(d))
	if v == nil {
		return nil, nil
	}
	return readRecord(v)
}

func readRecord(v []byte) (*record, error) {
	if len(v) < 16 {
		return nil, &damagedError{"a DAG's record is short"}
	}
	root, err := cid.Cast(bytes.Clone(v[16:]))
	if err != nil {
		return nil, &damagedError{err}
	}
	size := int64(binary.BigEndian.Uint64(v[8:]))
	if size <= MaxBlock {
		return nil, &damagedError{"a blob of one block has a DAG"}
	}
	return &record{number: bytes.Clone(v[:8]), size: size, root: root}, nil
}

// add writes a DAG down. A DAG that is there already stays.
func (x *index) add(d oci.Digest, dag *DAG) error {
	return x.update(func(tx *bolt.Tx) error {
		if known, err := dagOf(tx, d); err != nil || known != nil {
			return err
		}
		for _, name := range [][]byte{dagsBucket, blobsBucket, blocksBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		next, err := tx.Bucket(blobsBucket).NextSequence()
		if err != nil {
			return err
		}
		number, size := binary.BigEndian.AppendUint64(nil, next), binary.BigEndian.AppendUint64(nil, uint64(dag.Size))
		return errors.Join(
			tx.Bucket(dagsBucket).Put(digestKey(d), bytes.Join([][]byte{number, size, dag.Root.Bytes()}, nil)),
			tx.Bucket(blobsBucket).Put(number, append(size, digestKey(d)...)),
			addBlocks(tx.Bucket(blocksBucket), number, dag))
	})
}

func addBlocks(b *bolt.Bucket, number []byte, dag *DAG) error {
	for i, c := range dag.leaves {
		if err := b.Put(blockKey(c, number), binary.AppendUvarint([]byte{'l'}, uint64(i))); err != nil {
			return err
		}
	}
	for _, n := range dag.nodes {
		if err := b.Put(blockKey(n.cid, number), append([]byte{'n'}, n.bytes...)); err != nil {
			return err
		}
	}
	return nil
}

// remove forgets the blob d.
func (x *index) remove(d oci.Digest) error {
	return x.update(func(tx *bolt.Tx) error {
		known, err := dagOf(tx, d)
		if err != nil || known == nil {
			return err
		}
		if err := removeBlocks(tx.Bucket(blocksBucket), known.number, known.root); err != nil {
			return err
		}
		return errors.Join(tx.Bucket(blobsBucket).Delete(known.number), tx.Bucket(dagsBucket).Delete(digestKey(d)))
	})
}

// removeBlocks forgets what is below c, then c.
func removeBlocks(b *bolt.Bucket, number []byte, c cid.Cid) error {
	key := blockKey(c, number)
	if v := b.Get(key); len(v) > 0 && v[0] == 'n' {
		n, err := merkledag.DecodeProtobuf(bytes.Clone(v[1:]))
		if err != nil {
			return &damagedError{err}
		}
		for _, l := range n.Links() {
			if err := removeBlocks(b, number, l.Cid); err != nil {
				return err
			}
		}
	}
	return b.Delete(key)
}

func blockKey(c cid.Cid, number []byte) []byte {
	hash := c.Hash()
	return append(bytes.Clone(hash[len(hash)-32:]), number...)
}

// unsettle says whether the index was whole when its last process ended, and
// that it no longer is sure to be.
func (x *index) unsettle() (was bool, err error) {
	err = x.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(stateBucket)
		was = b != nil && b.Get(settledKey) != nil
		return nil
	})
	if !was {
		return false, err
	}
	return true, x.update(func(tx *bolt.Tx) error { return tx.Bucket(stateBucket).Delete(settledKey) })
}

// settle says that the index is whole.
func (x *index) settle() error {
	return x.update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(stateBucket)
		if err != nil {
			return err
		}
		return b.Put(settledKey, []byte{})
	})
}
