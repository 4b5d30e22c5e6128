// Package ipfs makes blobs IPFS content without storing them again.
//
// A blob of up to 2 MiB is one block, named by the OCI digest itself; a larger
// one is the leaves of a UnixFS DAG, of which only the interior nodes and
// where each leaf lies are kept. What leaves the package as a block is what
// its CID names: it is hashed first, so a rotten disk serves nothing.
//
// docs/formats/ipfs.md has the names and the index.
package ipfs

import (
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"holdfast/internal/oci"
)

// MaxBlock is the largest block, as the Bitswap specification has it.
// https://specs.ipfs.tech/bitswap-protocol/#block-sizes
const MaxBlock = 2 << 20

// algorithms are the names of the same functions in OCI and in IPFS.
var algorithms = map[string]uint64{"sha256": multihash.SHA2_256, "sha512": multihash.SHA2_512}

// DigestCID is the raw CID with the digest: the name of a blob that is one
// block, and what a node announces that has the blob, whatever its size.
func DigestCID(d oci.Digest) (cid.Cid, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return cid.Undef, err
	}
	sum, err := hex.DecodeString(d.Hex())
	if err != nil {
		return cid.Undef, err
	}
	hash, err := multihash.Encode(sum, algorithms[d.Algorithm()])
	return cid.NewCidV1(cid.Raw, hash), err
}

// DigestOf is the digest of the bytes that c names, whatever its codec. It
// fails when OCI has no name for c's hash function.
func DigestOf(c cid.Cid) (oci.Digest, error) {
	hash, err := multihash.Decode(c.Hash())
	if err != nil {
		return "", fmt.Errorf("CID %s: %w", c, err)
	}
	for name, code := range algorithms {
		if code == hash.Code {
			return oci.ParseDigest(name + ":" + hex.EncodeToString(hash.Digest))
		}
	}
	return "", fmt.Errorf("CID %s: hash is %s, want sha2-256 or sha2-512", c, hash.Name)
}
