package attack

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
	"holdfast/internal/boot/uki"
	"holdfast/internal/boot/verity"
)

const (
	rootNamed  = "the signed command line names every byte of the root by one hash"
	tableFound = "the root is found by its hash, and read only through it"
)

// noBoot is a firmware that does not go by a table that is not whole.
var noBoot = Refusal{Firmware, "found nothing to boot on the disk"}

func rootAttacks() []Attack {
	return []Attack{
		flipping("root-flipped", "a byte of the root's first block, its superblock,", Refusal{Verity, "found data block 0 of"}, "root", 100),
		booted("disk", "root-flipped-later", rootNamed, "a byte is flipped in each block of the middle of the root, which is read when the machine is up",
			Refusal{Verity, "found data block"}, func(_ context.Context, t *target) error {
				var all []int64
				for at := t.guest.Root.Size / 4; at < t.guest.Root.Size*3/4; at += verity.BlockSize {
					all = append(all, at)
				}
				return t.flip("root", all...)
			}),
		level("hash-tree-top-flipped", "a byte of the hash tree's top level", 1),
		level("hash-tree-leaf-flipped", "a byte of the hash tree's lowest level", 2),
		flipping("superblock-signature", "a byte of the verity superblock's signature", Refusal{Node, "verity superblock: no signature"}, "root-verity", 0),
		flipping("superblock-algorithm", "a byte of the hash algorithm's name in the verity superblock", Refusal{Node, "want sha256"}, "root-verity", 40),
		booted("disk", "superblock-size", rootNamed, "the verity superblock says that the data has half its size", Refusal{Node, "root: the verity superblock has"},
			func(_ context.Context, t *target) error {
				return t.edit("root-verity", func(b []byte) error {
					const atBlocks = 72 // of struct verity_sb
					binary.LittleEndian.PutUint64(b[atBlocks:], uint64(t.guest.Root.Size/verity.BlockSize/2))
					return nil
				})
			}),
		flipping("superblock-salt", "a byte of the salt in the verity superblock", Refusal{Verity, "found metadata block 1 of"}, "root-verity", 88),
		booted("disk", "root-swapped", tableFound, "root and hash tree are those of another image",
			Refusal{Node, "root: no disk has the partitions of root hash"}, swapRoot(true)),
		booted("disk", "root-swapped-named", rootNamed, "root and hash tree are those of another image, under the names of this one's",
			Refusal{Verity, "found metadata block 1 of"}, swapRoot(false)),
		booted("boot", "disk-untrusted", onlyTrusted, "the disk holds another good image, signed with our key, which the broker was not told to trust",
			notTrusted, otherImage),
		booted("boot", "disk-distrusted", onlyTrusted, "the broker trusted the image, and was told not to any more when its successor came", notTrusted, superseded),
		flipping("gpt-header-flipped", "a byte of the partition table's header", noBoot, "", gpt.SectorSize+40),
		flipping("gpt-entries-flipped", "a byte of the partition table's entries: the root's name", Refusal{Node, "root: "}, "", 2*gpt.SectorSize+entrySize+16),
		booted("disk", "gpt-both-flipped", tableFound, "a byte of the partition table's header is flipped, in both copies",
			noBoot, func(_ context.Context, t *target) error {
				return t.flip("", gpt.SectorSize+40, t.guest.Disk.Size-gpt.SectorSize+40)
			}),
		booted("disk", "gpt-root-moved", tableFound, "the partition table, with good checksums, says that the root begins a block later",
			Refusal{Verity, "found data block 0 of"}, func(_ context.Context, t *target) error {
				return t.edit("", func(disk []byte) error {
					root := disk[2*gpt.SectorSize+entrySize:]
					first := binary.LittleEndian.Uint64(root[32:])
					binary.LittleEndian.PutUint64(root[32:], first+verity.BlockSize/gpt.SectorSize)
					return sumTable(disk)
				})
			}),
	}
}

// flipping flips one byte of a partition, or with no name of the disk.
func flipping(name, what string, want Refusal, partition string, at int64) Attack {
	promise := rootNamed
	if partition == "" {
		promise = tableFound
	}
	return booted("disk", name, promise, what+" is flipped", want, func(_ context.Context, t *target) error {
		return t.flip(partition, at)
	})
}

// level flips a byte of a block of the hash tree: the first of a level, over
// the first block of data, which is read first.
func level(name, what string, block int64) Attack {
	return booted("disk", name, rootNamed, what+" is flipped", Refusal{Verity, fmt.Sprintf("found metadata block %d of", block)},
		func(_ context.Context, t *target) error {
			const perBlock = verity.BlockSize / 32 // digests
			if blocks := t.guest.Root.Size / verity.BlockSize; blocks <= perBlock || blocks > perBlock*perBlock {
				return fmt.Errorf("%d blocks have not two levels of hashes over them: every level wants an attack", blocks)
			}
			return t.flip("root-verity", block*verity.BlockSize+7)
		})
}

// anotherRoot is the image's root with other bytes at its end, which nobody
// reads, and its own good hash tree.
func (t *target) anotherRoot() (tree *verity.Tree, err error) {
	err = t.edit("root", func(root []byte) error {
		data := root[:t.guest.Root.Size]
		copy(data[len(data)-16:], "another image's.")
		salt, err := hex.DecodeString(t.guest.Recipe.Hex())
		if err != nil {
			return err
		}
		tree, err = verity.Build(bytes.NewReader(data), verity.Params{Salt: salt})
		return err
	})
	if err != nil {
		return nil, err
	}
	return tree, t.edit("root-verity", func(b []byte) error { copy(b, tree.Device()); return nil })
}

// swapRoot puts another root, whose partitions are named by its own hash or
// still by the first one's.
func swapRoot(named bool) host {
	return func(_ context.Context, t *target) error {
		tree, err := t.anotherRoot()
		if err != nil || !named {
			return err
		}
		return t.name(tree.Root)
	}
}

// entrySize and the offset of its GUID: UEFI 2.10, table 5-6.
const (
	entrySize = 128
	atGUID    = 16
)

// name gives root and hash tree, which are partitions 2 and 3, the GUIDs of a
// root hash.
func (t *target) name(root [32]byte) error {
	return t.edit("", func(disk []byte) error {
		for i, half := range [][]byte{root[:16], root[16:]} {
			id := guid.GUID(half).EFI()
			copy(disk[2*gpt.SectorSize+(i+1)*entrySize+atGUID:], id[:])
		}
		return sumTable(disk)
	})
}

// sumTable mends the checksums of the first table: UEFI 2.10, table 5-5.
func sumTable(disk []byte) error {
	const headerSize, atSum, atEntriesSum, entries = 92, 16, 88, 128
	header := disk[gpt.SectorSize : gpt.SectorSize+headerSize]
	binary.LittleEndian.PutUint32(header[atEntriesSum:], crc32.ChecksumIEEE(disk[2*gpt.SectorSize:][:entries*entrySize]))
	clear(header[atSum : atSum+4])
	binary.LittleEndian.PutUint32(header[atSum:], crc32.ChecksumIEEE(header))
	_, err := gpt.Read(bytes.NewReader(disk), int64(len(disk)))
	return err
}

// otherImage is a whole other image: its root, its hash tree, and a kernel
// image that names them.
func otherImage(_ context.Context, t *target) error {
	tree, err := t.anotherRoot()
	if err != nil {
		return err
	}
	image, err := t.uki()
	if err != nil {
		return err
	}
	err = errors.Join(t.name(tree.Root), replaced(image, uki.Cmdline, t.guest.RootHash, hex.EncodeToString(tree.Root[:])))
	if err != nil {
		return err
	}
	image, err = t.signed(image)
	return errors.Join(err, t.putUKI(image))
}
