package egress

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rules of a machine on QEMU's user network.
var slirp = Rules{Address: netip.MustParsePrefix("10.0.2.15/24"), Resolvers: []netip.Addr{netip.MustParseAddr("10.0.2.3")}}

// loaded skips where the kernel takes no programs from us.
func loaded(t *testing.T, r Rules) programs {
	t.Helper()
	all, err := load(r)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skip(err, "(run as root, on a kernel with CONFIG_CGROUP_BPF)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(all.close)
	return all
}

func TestPacketsToTheLinkAreRefused(t *testing.T) {
	leaving := loaded(t, slirp)[0]
	out := outside(t)
	for _, c := range []struct {
		name   string
		packet []byte
		device int
		want   bool
	}{
		{"TCP to the gateway", tcp("10.0.2.2", 5000, tcpSyn), out, false},
		{"TCP to the gateway with fast open, ECN and congestion flags", tcp("10.0.2.2", 5000, tcpSyn|0xc0|0x08), out, false},
		{"TCP to the gateway with a source route", routed(tcp("10.0.2.2", 5000, tcpSyn)), out, false},
		{"TCP to another address of the link", tcp("10.0.2.99", 80, tcpSyn), out, false},
		{"TCP to the resolver's other ports", tcp("10.0.2.3", 80, tcpSyn), out, false},
		{"TCP to the host's loopback by a bound socket", tcp("127.0.0.1", 5000, tcpSyn), out, false},
		{"TCP to a cloud's metadata", tcp("169.254.169.254", 80, tcpSyn), out, false},
		{"UDP to the gateway", udp("10.0.2.2", 5000), out, false},
		{"UDP to the gateway with a source route", routed(udp("10.0.2.2", 5000)), out, false},
		{"UDP to everybody near", udp("255.255.255.255", 67), out, false},
		{"another protocol to the gateway", packet("10.0.2.2", unix.IPPROTO_SCTP, make([]byte, 20)), out, false},
		{"a packet that ends too early", packet("10.0.2.2", unix.IPPROTO_TCP, make([]byte, 6)), out, false},
		{"IPv6", ethernet(unix.ETH_P_IPV6, make([]byte, 60)), out, false},

		{"an answer to who connected", tcp("10.0.2.2", 41000, tcpSynAck), out, true},
		{"data to who connected", tcp("10.0.2.2", 41000, 0x18), out, true},
		{"a question to the resolver", udp("10.0.2.3", 53), out, true},
		{"a long question to the resolver", tcp("10.0.2.3", 53, tcpSyn), out, true},
		{"a ping of the gateway", packet("10.0.2.2", unix.IPPROTO_ICMP, make([]byte, 16)), out, true},
		{"TCP to the Internet", tcp("192.0.2.1", 443, tcpSyn), out, true},
		{"UDP to the Internet", udp("192.0.2.1", 443), out, true},
		{"TCP to the machine itself", tcp("10.0.2.15", 80, tcpSyn), loopback, true},
		{"TCP to its loopback", tcp("127.0.0.1", 80, tcpSyn), loopback, true},
	} {
		if got := judge(t, leaving, c.packet, c.device); got != c.want {
			t.Errorf("%s: got passed=%v, want %v", c.name, got, c.want)
		}
	}
}

func TestADatagramsSenderGetsItsAnswer(t *testing.T) {
	all := loaded(t, slirp)
	leaving, arriving, out := all[0], all[1], outside(t)
	// The same packet seen from both ends: 41000 of theirs, 53000 of ours.
	from := segment("10.0.2.2", "10.0.2.15", unix.IPPROTO_UDP, ports(41000, 53000))
	answer := func(theirs, ours uint16) []byte {
		return segment("10.0.2.15", "10.0.2.2", unix.IPPROTO_UDP, ports(ours, theirs))
	}
	if judge(t, leaving, answer(41000, 53000), out) {
		t.Fatal("an answer passed before there was a question")
	}
	if !judge(t, arriving, from, loopback) || judge(t, leaving, answer(41000, 53000), out) {
		t.Fatal("the machine taught itself whom it may answer")
	}
	if !judge(t, arriving, from, out) {
		t.Fatal("a datagram was not let in")
	}
	for _, c := range []struct {
		theirs, ours uint16
		want         bool
	}{{41000, 53000, true}, {41001, 53000, false}, {41000, 53001, false}, {53000, 41000, false}} {
		if got := judge(t, leaving, answer(c.theirs, c.ours), out); got != c.want {
			t.Errorf("from %d to %d: got passed=%v, want %v", c.ours, c.theirs, got, c.want)
		}
	}
}

func TestRulesSayEnough(t *testing.T) {
	for want, r := range map[error]Rules{
		errAddress:  {},
		errResolver: {Address: slirp.Address, Resolvers: []netip.Addr{netip.MustParseAddr("fe80::1")}},
	} {
		if _, err := load(r); !errors.Is(err, want) {
			t.Errorf("%+v: got %v, want %v", r, err, want)
		}
	}
}

// dialled makes this test's binary the program that is fenced in.
const dialled = "HOLDFAST_TEST_DIAL"

func TestConnectingSaysNoAtOnce(t *testing.T) {
	if address := os.Getenv(dialled); address != "" {
		os.Exit(dial(address))
	}
	loaded(t, slirp)
	// Addresses of this machine stand for near ones: lo has all of 127/8.
	near := Rules{Address: netip.MustParsePrefix("127.0.9.15/24"), Resolvers: []netip.Addr{netip.MustParseAddr("127.0.9.3")}}
	group := cgroup(t)
	if err := Attach(group, near); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(group, "inner") // made later, as a container's is
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(inner) })
	for address, want := range map[string]syscall.Errno{
		"127.0.9.2:1": unix.EPERM, "[::ffff:127.0.9.2]:1": unix.EPERM, "127.0.9.3:1": unix.EPERM,
		"127.0.9.3:53": unix.ECONNREFUSED, "127.0.9.15:1": unix.ECONNREFUSED, "127.0.8.1:1": unix.ECONNREFUSED,
		"[::ffff:127.0.8.1]:1": unix.ECONNREFUSED, "[::1]:1": unix.ECONNREFUSED,
	} {
		if got := dialFrom(t, inner, address); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

// cgroup is a new one of version 2, whose tree is mounted for the test: where
// it is mounted already, if at all, differs.
func cgroup(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		t.Skipf("mount cgroup2: %v (run as root, on a kernel with CONFIG_CGROUP_BPF)", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, 0) })
	dir, err := os.MkdirTemp(root, "holdfast-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	return dir
}

func dialFrom(t *testing.T, group, address string) syscall.Errno {
	t.Helper()
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestConnectingSaysNoAtOnce$")
	cmd.Env = append(os.Environ(), dialled+"="+address)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return syscall.Errno(cmd.ProcessState.ExitCode())
}

// dial returns the error's number. An IPv4 address in an IPv6 one is dialled
// by an IPv6 socket, which Go would not do.
func dial(address string) int {
	to := netip.MustParseAddrPort(address)
	family, sockaddr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, sockaddr = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		time.AfterFunc(20*time.Second, func() { os.Exit(int(unix.ETIMEDOUT)) })
		err = unix.Connect(fd, sockaddr)
	}
	var errno syscall.Errno
	_ = errors.As(err, &errno)
	return int(errno)
}

// outside is an interface that packets leave the machine by.
func outside(t *testing.T) int {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Index != loopback {
			return i.Index
		}
	}
	t.Skip("the machine has no interface but lo: ip link add dummy0 type dummy")
	return 0
}

// judge runs a program on a packet (BPF_PROG_TEST_RUN): nothing is sent.
func judge(t *testing.T, p program, packet []byte, device int) bool {
	t.Helper()
	context := make([]byte, skbIfindex+4)
	binary.NativeEndian.PutUint32(context[skbIfindex:], uint32(device))
	attributes := struct {
		program, verdict, in, out uint32
		data, result              unsafe.Pointer
		repeat, duration          uint32
		contextIn, contextOut     uint32
		context                   unsafe.Pointer
	}{program: uint32(p.fd), in: uint32(len(packet)), data: unsafe.Pointer(&packet[0]),
		contextIn: uint32(len(context)), context: unsafe.Pointer(&context[0])}
	if _, err := bpf(unix.BPF_PROG_TEST_RUN, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes)); err != nil {
		t.Fatalf("run program %s: %v", p.name, err)
	}
	return attributes.verdict == 1
}

func tcp(to string, port uint16, flags byte) []byte {
	header := append(ports(42000, port), make([]byte, 16)...)
	header[12], header[tcpFlags] = 5<<4, flags
	return packet(to, unix.IPPROTO_TCP, header)
}

func udp(to string, port uint16) []byte { return packet(to, unix.IPPROTO_UDP, ports(42000, port)) }

func ports(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	return append(b, 0, 8, 0, 0) // the rest of UDP's header
}

func packet(to string, protocol byte, content []byte) []byte {
	return segment("10.0.2.15", to, protocol, content)
}

func segment(from, to string, protocol byte, content []byte) []byte {
	header := make([]byte, ipSize)
	header[0], header[8], header[ipProtocol] = 0x45, 64, protocol
	copy(header[ipSource:], net.ParseIP(from).To4())
	copy(header[ipDestination:], net.ParseIP(to).To4())
	return ethernet(unix.ETH_P_IP, append(header, content...))
}

// ethernet is how a test run wants its packets.
func ethernet(protocol uint16, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), protocol), content...)
}

// routed adds an option of 8 bytes (RFC 791: loose source route) to a packet.
func routed(packet []byte) []byte {
	const end = 14 + ipSize
	option := []byte{131, 7, 4, 192, 0, 2, 1, 0}
	all := append(append(append([]byte(nil), packet[:end]...), option...), packet[end:]...)
	all[14] = 0x47
	return all
}
