package egress

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// remembered is how many peers may have sent datagrams lately and still get
// an answer.
const remembered = 4096

// tries bounds how often a call is made that signals break off.
const tries = 100

// bpf is bpf(2). The attributes are the first members of union bpf_attr
// (Linux, include/uapi/linux/bpf.h): the kernel takes the rest as zero.
//
// The verifier gives up with EAGAIN when a signal is pending (kernel/bpf/verifier.c,
// do_check), and Go's scheduler sends its threads signals when they are busy.
func bpf(command uintptr, attributes unsafe.Pointer, size uintptr) (int, error) {
	for range tries {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attributes), size)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EAGAIN && errno != unix.EINTR {
			return -1, errno
		}
	}
	return -1, unix.EAGAIN
}

// newMap forgets what was used longest ago when it is full. Values are 8 bytes.
func newMap(keySize uint32) (int, error) {
	attributes := struct{ kind, keySize, valueSize, entries uint32 }{unix.BPF_MAP_TYPE_LRU_HASH, keySize, 8, remembered}
	return bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
}

func loadProgram(kind, hook uint32, code []byte) (int, error) {
	licence := [...]byte{'A', 'p', 'a', 'c', 'h', 'e', 0}
	attributes := struct {
		kind, count          uint32
		code, licence        unsafe.Pointer
		logLevel, logSize    uint32
		log                  uint64
		kernelVersion, flags uint32
		name                 [16]byte
		interfaceIndex, hook uint32
	}{
		kind: kind, count: uint32(len(code) / 8), hook: hook,
		code: unsafe.Pointer(&code[0]), licence: unsafe.Pointer(&licence[0]),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
}

// attach allows no other program at this hook, here or below.
func attach(cgroup, program int, hook uint32) error {
	attributes := struct{ target, program, hook, flags uint32 }{uint32(cgroup), uint32(program), hook, 0}
	_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
	return err
}
