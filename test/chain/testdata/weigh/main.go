// Command weigh reads every file below /srv and prints how many bytes they
// have, what they sum up to, and what the kernel says of memory and processors.
package main

import (
	"fmt"
	"hash/adler32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	sum, size := adler32.New(), int64(0)
	err := filepath.WalkDir("/srv", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.Copy(sum, f)
		size += n
		return err
	})
	memory, _ := os.ReadFile("/proc/meminfo")
	fmt.Printf("%s", memory)
	for _, more := range []string{"/proc/swaps", "/proc/cmdline", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.peak"} {
		text, _ := os.ReadFile(more)
		fmt.Printf("%s: %s", more, text)
	}
	fmt.Printf("processors %d\n", runtime.NumCPU())
	fmt.Printf("bytes %d sum %08x error %v\n", size, sum.Sum32(), err)
}
