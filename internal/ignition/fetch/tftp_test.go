package fetch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/test/port"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// tftpd is Debian's server, on a free port of loopback.
func tftpd(t *testing.T, dir string, words ...string) string {
	t.Helper()
	path, err := exec.LookPath("in.tftpd")
	if err != nil {
		path = "/usr/sbin/in.tftpd"
	}
	if _, err := os.Stat(path); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and Debian's tftpd-hpa: apt-get install tftpd-hpa")
	}
	address := port.Address(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := exec.CommandContext(ctx, path, append([]string{"-L", "-4", "-a", address, "-u", "root", "-p"}, append(words, "-s", dir)...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = c.Wait() })
	return address
}

func TestDebiansTFTPServerIsUnderstood(t *testing.T) {
	dir := t.TempDir()
	for _, options := range [][]string{nil, {"-r", "blksize"}} {
		address := tftpd(t, dir, options...)
		for _, size := range []int{0, 1, 511, 512, 1427, 1428, 1429, 70000} {
			want := bytes.Repeat([]byte("0123456"), size/7+1)[:size]
			if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := get(t, Config{Total: 20 * time.Second}, types.Ignition{}, resource("tftp://"+address+"/f"))
			if err != nil || got != string(want) {
				t.Errorf("%v, %d bytes: got %d, %v", options, size, len(got), err)
			}
		}
		_, err := get(t, Config{Total: time.Minute}, types.Ignition{}, resource("tftp://"+address+"/absent"))
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
}

// liar answers a read request with packets, whatever is asked.
func liar(t *testing.T, packets ...[]byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for i := 0; ; i++ {
			_, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(packets[min(i, len(packets)-1)], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return "tftp://" + conn.LocalAddr().String() + "/f"
}

func data(block uint16, size int) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, opData}, block), make([]byte, size)...)
}

func TestATFTPServerThatLiesIsToldSo(t *testing.T) {
	for _, c := range []struct {
		packets [][]byte
		want    string
	}{
		{[][]byte{{1}}, "no TFTP packet"},
		{[][]byte{[]byte("\x00\x06blksize\x0065536\x00")}, `blocks of "65536" bytes`},
		{[][]byte{[]byte("\x00\x06blksize")}, "no TFTP packet"},
		{[][]byte{data(1, 600)}, "no TFTP packet"},
		{[][]byte{[]byte("\x00\x05\x00\x02no\x1b[31mway\x00")}, `the server says 2: "no\x1b[31mway"`},
		{[][]byte{data(7, 1)}, "not done in 1s"},
		{[][]byte{data(1, 512), data(9, 1)}, "not done in 1s"},
	} {
		total := time.Minute
		if c.want == "not done in 1s" {
			total = time.Second
		}
		_, err := get(t, Config{Total: total}, types.Ignition{}, resource(liar(t, c.packets...)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.packets[0][:min(20, len(c.packets[0]))], err, c.want)
		}
	}
}

func TestAnEndlessTFTPFileIsBounded(t *testing.T) {
	var packets [][]byte
	for i := range 40 {
		packets = append(packets, data(uint16(i+1), 512))
	}
	_, err := get(t, Config{Limit: 10000, Total: time.Minute}, types.Ignition{}, resource(liar(t, packets...)))
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

//fuzz:parser tftp.go:parsePacket,parseOptions
func FuzzPacket(f *testing.F) {
	f.Add(data(1, 3))
	f.Add([]byte("\x00\x06blksize\x001428\x00"))
	f.Add([]byte("\x00\x05\x00\x01gone\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b)
		if err == nil && p.op != opData && p.op != opOack {
			t.Errorf("%v passes for an answer", fmt.Sprint(p))
		}
	})
}
