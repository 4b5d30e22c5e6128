package ipfs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	bolt "go.etcd.io/bbolt"

	"holdfast/internal/oci"
)

// A place is where a block's bytes are: in memory, or in a blob's file.
type place struct {
	bytes  []byte // of an interior node
	blob   oci.Digest
	offset int64
	size   int
}

// alike is how many places of one block are tried: equal chunks of several
// blobs are one block.
const alike = 64

// places finds where a block of larger blobs lies.
func (x *index) places(c cid.Cid) (found []place, err error) {
	p := c.Prefix()
	if p.MhType != multihash.SHA2_256 || p.MhLength != 32 {
		return nil, nil
	}
	hash := blockKey(c, nil)
	err = x.view(func(tx *bolt.Tx) error {
		blocks := tx.Bucket(blocksBucket)
		if blocks == nil {
			return nil
		}
		cursor := blocks.Cursor()
		for k, v := cursor.Seek(hash); bytes.HasPrefix(k, hash) && len(found) < alike; k, v = cursor.Next() {
			at, err := readPlace(tx.Bucket(blobsBucket).Get(k[len(hash):]), v)
			if err != nil {
				return err
			}
			found = append(found, at)
		}
		return nil
	})
	return found, err
}

// readPlace reads the record of a block and that of the blob it is in.
func readPlace(of, v []byte) (place, error) {
	if len(of) < 9 || len(v) == 0 {
		return place{}, &damagedError{"a block's record is short"}
	}
	size := int64(binary.BigEndian.Uint64(of))
	digest, err := keyDigest(of[8:])
	if err != nil {
		return place{}, err
	}
	if v[0] == 'n' {
		return place{blob: digest, bytes: bytes.Clone(v[1:]), size: len(v) - 1}, nil
	}
	i, n := binary.Uvarint(v[1:])
	if n <= 0 || size < 0 || i > uint64(size/chunkSize) {
		return place{}, &damagedError{"a leaf lies behind its blob's end"}
	}
	offset := int64(i) * chunkSize
	return place{blob: digest, offset: offset, size: int(min(chunkSize, size-offset))}, nil
}

// digestKey is D of the format's page.
func digestKey(d oci.Digest) []byte {
	sum, _ := hex.DecodeString(d.Hex())
	if d.Algorithm() == "sha512" {
		return append([]byte{2}, sum...)
	}
	return append([]byte{1}, sum...)
}

func keyDigest(k []byte) (oci.Digest, error) {
	names := map[byte]string{1: "sha256:", 2: "sha512:"}
	d, err := oci.ParseDigest(names[k[0]] + hex.EncodeToString(k[1:]))
	if err != nil {
		return "", &damagedError{err}
	}
	return d, nil
}

// eachBlock calls visit with the CID of every block of the index.
func (x *index) eachBlock(visit func(cid.Cid) error) error {
	return x.eachOf(blocksBucket, func(k, v []byte) error {
		if len(k) < 32 || len(v) == 0 {
			return &damagedError{"a block's record is short"}
		}
		hash, err := multihash.Encode(k[:32], multihash.SHA2_256)
		if err != nil {
			return err
		}
		codec := uint64(cid.Raw)
		if v[0] == 'n' {
			codec = cid.DagProtobuf
		}
		return visit(cid.NewCidV1(codec, hash))
	})
}

// eachBlob calls visit with every blob of the index.
func (x *index) eachBlob(visit func(oci.Digest) error) error {
	return x.eachOf(dagsBucket, func(k, _ []byte) error {
		d, err := keyDigest(k)
		if err != nil {
			return err
		}
		return visit(d)
	})
}

// page is how many entries are read in one transaction, so that whoever walks
// holds up nobody who writes.
const page = 1024

func (x *index) eachOf(bucket []byte, visit func(k, v []byte) error) error {
	var last []byte
	for {
		var keys, values [][]byte
		err := x.view(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucket)
			if b == nil {
				return nil
			}
			cursor := b.Cursor()
			k, v := cursor.Seek(last)
			if last != nil && bytes.Equal(k, last) {
				k, v = cursor.Next()
			}
			for ; k != nil && len(keys) < page; k, v = cursor.Next() {
				keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v[:min(len(v), 1)]))
			}
			return nil
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		for i := range keys {
			if err := visit(keys[i], values[i]); err != nil {
				return err
			}
		}
		last = keys[len(keys)-1]
	}
}
