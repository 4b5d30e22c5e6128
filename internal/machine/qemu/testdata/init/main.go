// Command init is process 1 of the machines that package qemu's tests boot.
// It does what its command line says: talk on the control channel and the
// standard streams, refuse, panic, or print what it is told.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/devmapper"
)

func main() {
	mount("proc", "/proc")
	mount("sysfs", "/sys")
	mount("devtmpfs", "/dev")
	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(cmdline)) {
		if mode, ok := strings.CutPrefix(word, "test="); ok {
			act(mode)
		}
	}
	powerOff()
}

func act(mode string) {
	mode, rest, _ := strings.Cut(mode, ":")
	switch mode {
	case "talk":
		loadModules()
		talk()
	case "verity":
		loadModules()
		readVerity(rest)
	case "refuse":
		fmt.Println("holdfast: refused: root: no verity root of that hash")
	case "hang":
		fmt.Println("init: hanging")
		select {}
	case "reset":
		must(syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART))
	case "panic":
		os.Exit(3) // the kernel panics when process 1 ends
	}
}

// talk is the smallest machine that keeps to the protocols.
func talk() {
	control, stdio := openPort(api.ControlPort), openPort(api.StdioPort)
	stage(control, api.StageDetail{Name: "config", Digest: digest("/sys/firmware/qemu_fw_cfg/by_name/" + api.InitDataFile + "/raw")})
	version, _ := os.ReadFile("/sys/class/tpm/tpm0/tpm_version_major")
	stage(control, api.StageDetail{Name: "tpm", Text: strings.TrimSpace(string(version))})
	network()
	stage(control, api.StageDetail{Name: "network"})
	go echo(stdio)
	send(control, api.Event{Event: api.EventStarted})
	for lines := bufio.NewScanner(control); lines.Scan(); {
		var call api.Call
		must(json.Unmarshal(lines.Bytes(), &call))
		reply := api.Event{ID: call.ID, Event: api.EventReply}
		if call.Call != api.CallStatus && call.Call != api.CallStop {
			reply.Error = "not allowed"
		}
		send(control, reply)
		if call.Call == api.CallStop {
			detail, _ := json.Marshal(api.ExitDetail{Code: 7})
			send(control, api.Event{Event: api.EventExited, Detail: detail})
			return
		}
	}
}

// readVerity reads a verity device to its end. Its tree, under the root hash
// ROOT, follows the data's BLOCKS on the same disk.
func readVerity(rootAndBlocks string) {
	root, blocks, _ := strings.Cut(rootAndBlocks, ":")
	count, err := strconv.ParseUint(blocks, 10, 32)
	must(err)
	dev, err := devmapper.Create("root", devmapper.Target{
		Length: count * devmapper.BlockSize / devmapper.Sector,
		Type:   "verity",
		Params: fmt.Sprintf("1 /dev/vda /dev/vda 4096 4096 %d %d sha256 %s - 1 panic_on_corruption", count, count+1, root),
	})
	must(err)
	data, err := os.ReadFile(dev)
	fmt.Println("init: verity read", len(data), err)
}

func stage(w io.Writer, d api.StageDetail) {
	var now unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	d.UptimeMillis = now.Nano() / 1e6
	detail, _ := json.Marshal(d)
	send(w, api.Event{Event: api.EventStage, Detail: detail})
	fmt.Println("holdfast: stage " + d.Name + ":")
}

func send(w io.Writer, e api.Event) {
	line, err := json.Marshal(e)
	must(err)
	_, err = w.Write(append(line, '\n'))
	must(err)
}

// echo returns each frame of input as output, and closes its streams when
// the input ends.
func echo(port io.ReadWriter) {
	for {
		frame := make([]byte, 5)
		must2(io.ReadFull(port, frame))
		size := int(frame[1])<<24 | int(frame[2])<<16 | int(frame[3])<<8 | int(frame[4])
		frame = append(frame, make([]byte, size)...)
		must2(io.ReadFull(port, frame[5:]))
		frame[0] = api.StreamStdout
		must2(port.Write(frame))
		if size == 0 {
			must2(port.Write([]byte{api.StreamStderr, 0, 0, 0, 0}))
			return
		}
	}
}

// openPort finds the virtio-serial port of that name.
func openPort(name string) *os.File {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
	for _, path := range names {
		if got, _ := os.ReadFile(path); strings.TrimSpace(string(got)) == name {
			f, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(path)), os.O_RDWR, 0)
			must(err)
			return f
		}
	}
	must(fmt.Errorf("no port %s among %q", name, names))
	return nil
}

func digest(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// network gives eth0 the address that QEMU forwards to, and greets whoever
// connects to port 7.
func network() {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(err)
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("eth0")
	must(err)
	must(ifr.SetInet4Addr([]byte{10, 0, 2, 15}))
	must(unix.IoctlIfreq(s, unix.SIOCSIFADDR, ifr))
	must(ifr.SetInet4Addr([]byte{255, 255, 255, 0}))
	must(unix.IoctlIfreq(s, unix.SIOCSIFNETMASK, ifr))
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr))
	l, err := net.Listen("tcp4", "10.0.2.15:7")
	must(err)
	go func() {
		for {
			c, err := l.Accept()
			must(err)
			_, _ = io.WriteString(c, "hello\n")
			_ = c.Close()
		}
	}()
}

func loadModules() {
	files, _ := filepath.Glob("/modules/*.ko")
	for _, path := range files {
		f, err := os.Open(path)
		must(err)
		must(unix.FinitModule(int(f.Fd()), "", 0))
		_ = f.Close()
	}
}

func mount(kind, dir string) {
	must(os.MkdirAll(dir, 0o755))
	must(syscall.Mount(kind, dir, kind, 0, ""))
}

func powerOff() {
	must(syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF))
}

func must(err error) {
	if err != nil {
		fmt.Println("init:", err)
		powerOff()
	}
}

func must2(_ int, err error) { must(err) }
