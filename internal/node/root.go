package node

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/devmapper"
)

const (
	newRoot    = "/newroot"
	rootOption = "holdfast.roothash"
)

// mountRoot finds the disk that carries the tree of the root hash, lets the
// kernel check every block of it, and mounts it for switchRoot.
func mountRoot(ctx context.Context) (rootHash, disk string, err error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", "", err
	}
	root, err := parseRootHash(string(line))
	if err != nil {
		return "", "", err
	}
	p, err := awaitPartitions(ctx, root)
	if err != nil {
		return "", "", err
	}
	device, err := openVerity(root, p)
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return "", "", err
	}
	if err := unix.Mount(device, newRoot, "squashfs", unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		return "", "", fmt.Errorf("mount squashfs of %s: %w", device, err)
	}
	return hex.EncodeToString(root[:]), p.disk, nil
}

// parseRootHash finds holdfast.roothash on a kernel command line. Two of them
// are refused: it would not be clear which one the signer meant.
func parseRootHash(line string) (root [32]byte, err error) {
	var found []string
	for _, word := range strings.Fields(line) {
		if v, ok := strings.CutPrefix(word, rootOption+"="); ok {
			found = append(found, v)
		}
	}
	if len(found) != 1 {
		return root, fmt.Errorf("kernel command line has %d %s=, want one", len(found), rootOption)
	}
	b, err := hex.DecodeString(found[0])
	if err != nil || len(b) != len(root) {
		return root, fmt.Errorf("%s=%.80q: want 64 hex digits", rootOption, found[0])
	}
	return [32]byte(b), nil
}

func openVerity(root [32]byte, p partitions) (string, error) {
	f, err := os.Open(p.hash)
	if err != nil {
		return "", err
	}
	defer f.Close()
	s, err := devmapper.ReadSuperblock(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.hash, err)
	}
	device, err := devmapper.Create("root", devmapper.Verity(p.data, p.hash, root, s))
	if err != nil {
		return "", err
	}
	verified, err := os.Open(device)
	if err != nil {
		return "", err
	}
	defer verified.Close()
	return device, mapsAll(verified, s.DataBlocks)
}

// mapsAll checks that the superblock, which nobody signed, has the size of the
// root, which says so itself: bytes_used of struct squashfs_super_block, which
// is padded to whole blocks.
func mapsAll(root io.ReaderAt, blocks uint64) error {
	var used [8]byte
	if _, err := root.ReadAt(used[:], 40); err != nil {
		return err
	}
	const block = devmapper.BlockSize
	if bytes := binary.LittleEndian.Uint64(used[:]); blocks != bytes/block+min(1, bytes%block) {
		return fmt.Errorf("the verity superblock has %d blocks, the root %d bytes", blocks, bytes)
	}
	return nil
}
