// Package port gives tests numbers of ports at which nobody listens and, until
// the test ends, nobody will: a number that the kernel chose and that was let go
// of is soon another process's, and a server that starts a second later fails.
package port

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Of what no kernel chooses (it begins at 32768), no Kubernetes gives to a
// Service (from 30000) and no run of Holdfast takes for its registry (from 20000).
const first, last = 12000, 19998

// Free is a port of 127.0.0.1; the one above it is kept as well.
func Free(t testing.TB) int {
	t.Helper()
	for range 1000 {
		number := first + 2*rand.IntN((last-first)/2)
		kept, err := keep(number)
		if err != nil {
			t.Fatal(err)
		}
		if kept == nil {
			continue
		}
		if quiet(number) && quiet(number+1) {
			t.Cleanup(func() { _ = kept.Close() })
			return number
		}
		_ = kept.Close()
	}
	t.Fatalf("no port between %d and %d is free", first, last)
	return 0
}

// Address is 127.0.0.1 with such a port.
func Address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Free(t)))
}

// keep is nil where another test of this machine has the number. The lock goes
// with its process, however that ends.
func keep(number int) (*os.File, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(number)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if err == syscall.EWOULDBLOCK {
			err = nil
		}
		return nil, err
	}
	return f, nil
}

func quiet(number int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(number))
	if err != nil {
		return false
	}
	c, err := net.ListenPacket("udp", ":"+strconv.Itoa(number))
	if err != nil {
		_ = l.Close()
		return false
	}
	return errors.Join(l.Close(), c.Close()) == nil
}
