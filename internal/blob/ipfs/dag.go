package ipfs

import (
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

// The profile unixfs-v1-2025 of IPIP-0499, as far as it concerns files.
const (
	chunkSize = 1 << 20
	width     = 1024
)

// A DAG is the UnixFS file that a blob is.
type DAG struct {
	Root cid.Cid
	Size int64 // bytes of the blob

	leaves []cid.Cid
	nodes  []node // interior ones, from the leaves up; none when Root is the blob's one block
}

// A node is an interior block.
type node struct {
	cid   cid.Cid
	bytes []byte
}

// A child is what a link says: the bytes of the file below it, and the size
// of all blocks below it.
type child struct {
	cid        cid.Cid
	size, deep uint64
}

// layout builds the balanced layout over leaves: each level packs the one
// below it, so all leaves have the same depth.
func layout(leaves []cid.Cid, size int64) (*DAG, error) {
	d := &DAG{Size: size, leaves: leaves}
	level := make([]child, len(leaves))
	for i, c := range leaves {
		n := uint64(min(chunkSize, size-int64(i)*chunkSize))
		level[i] = child{c, n, n}
	}
	for len(level) > 1 {
		above := make([]child, 0, len(level)/width+1)
		for len(level) > 0 {
			n := min(width, len(level))
			c, err := d.add(level[:n])
			if err != nil {
				return nil, err
			}
			above, level = append(above, c), level[n:]
		}
		level = above
	}
	d.Root = level[0].cid
	return d, nil
}

// add makes the node over some children.
func (d *DAG) add(children []child) (child, error) {
	var n merkledag.ProtoNode
	if err := n.SetCidBuilder(dagPB); err != nil {
		return child{}, err
	}
	file, up := unixfs.NewFSNode(unixfs.TFile), child{}
	for _, c := range children {
		file.AddBlockSize(c.size)
		if err := n.AddRawLink("", &format.Link{Size: c.deep, Cid: c.cid}); err != nil {
			return child{}, err
		}
		up.size, up.deep = up.size+c.size, up.deep+c.deep
	}
	data, err := file.GetBytes()
	if err != nil {
		return child{}, err
	}
	n.SetData(data)
	encoded, err := n.EncodeProtobuf(true)
	if err != nil {
		return child{}, err
	}
	up.cid, up.deep = n.Cid(), up.deep+uint64(len(encoded))
	d.nodes = append(d.nodes, node{up.cid, encoded})
	return up, nil
}

var (
	dagPB = cid.Prefix{Version: 1, Codec: cid.DagProtobuf, MhType: multihash.SHA2_256, MhLength: -1}
	raw   = cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: -1}
)
