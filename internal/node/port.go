package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	portsDir  = "/sys/class/virtio-ports"
	hostPause = 50 * time.Millisecond
)

// errNoPort says that the host gave the machine no such port.
var errNoPort = errors.New("no such virtio-serial port")

// openPort finds the virtio-serial port of a name. There is no udev to make a
// link of it.
func openPort(dir, name string) (*os.File, error) {
	ports, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, p := range ports {
		b, err := os.ReadFile(filepath.Join(dir, p.Name(), "name"))
		if err == nil && strings.TrimSpace(string(b)) == name {
			return os.OpenFile("/dev/"+p.Name(), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, errNoPort)
}

// patient reads from a port. While no host is connected the kernel answers
// with end of file at once; patient waits for the next host instead.
type patient struct {
	io.Reader
	pause time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	for {
		n, err := p.Reader.Read(b)
		if n > 0 || err != io.EOF {
			return n, err
		}
		time.Sleep(p.pause)
	}
}
