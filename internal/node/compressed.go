package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// compressMemory lets the kernel compress pages that are not in use where it
// would be short of memory: the tree of a container is seldom all in use, and
// files of programs shrink to less than half. The swap device is in memory
// too (zram), so nothing leaves the machine.
//
// A machine image without the module does without.
func compressMemory() error {
	const device = "/dev/zram0"
	if _, err := os.Stat(device); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	// A quarter more than all memory: what is compressed may have been larger.
	// The kernel's table of it takes 6 MB for each GB.
	size := uint64(info.Totalram) * uint64(info.Unit) / 4 * 5 &^ (swapPage - 1)
	if err := os.WriteFile("/sys/block/zram0/disksize", strconv.AppendUint(nil, size, 10), 0); err != nil {
		return err
	}
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(swapHeader(size))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := swapOn(device); err != nil {
		return err
	}
	// One page at a time: there is no disk whose head would have to move.
	return os.WriteFile(filepath.Join(sysctlDir, "vm/page-cluster"), []byte("0"), 0)
}

const swapPage = 4096

// swapHeader is the first page of a swap device of size bytes: mkswap(8), and
// union swap_header in Linux, include/linux/swap.h.
func swapHeader(size uint64) []byte {
	b := make([]byte, swapPage)
	binary.LittleEndian.PutUint32(b[1024:], 1)                       // version
	binary.LittleEndian.PutUint32(b[1028:], uint32(size/swapPage-1)) // last page
	copy(b[swapPage-10:], "SWAPSPACE2")
	return b
}

func swapOn(device string) error {
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0)
	runtime.KeepAlive(path)
	if errno != 0 {
		return fmt.Errorf("swap on %s: %w", device, errno)
	}
	return nil
}
