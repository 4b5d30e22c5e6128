package egress

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Where the programs find things (Linux, include/uapi/linux/bpf.h: struct
// __sk_buff and struct bpf_sock_addr; RFC 791, 768 and 9293).
const (
	skbProtocol, skbIfindex = 16, 40

	sockIP4, sockIP6, sockPort, sockProtocol = 4, 8, 24, 36

	ipProtocol, ipSource, ipDestination, ipSize = 9, 12, 16, 20

	tcpFlags, tcpSyn, tcpSynAck = 13, 0x02, 0x12

	loopback = 1 // the index of lo (LOOPBACK_IFINDEX)
)

// Places on the programs' stack.
const (
	atHeader = -24 // the IP header without options
	atPorts  = -32 // source and destination
	atFlags  = -40
	atKey    = -48 // of heard: their address, their port, our port
	atValue  = -56

	keySize = 8
)

// leaving judges a packet on its way out: to near addresses go only answers,
// and questions to the resolver. An answer over TCP is all but a first SYN;
// over UDP it is what goes back to where a datagram came from.
func (r Rules) leaving(heard int) []byte {
	a := newAssembler()
	a.openPacket("refuse")
	a.load(unix.BPF_W, r7, r10, atHeader+ipDestination)
	a.jumpIfIn(r7, r.beyond(), "near")
	a.jump("allow")

	a.label("near")
	a.jumpIf(jeq, r9, unix.IPPROTO_ICMP, "allow")
	a.loadPacket(r8, 0, atPorts, 4, "refuse")
	a.load(unix.BPF_H, r3, r10, atPorts+2)
	a.jumpIfResolver(r7, r3, r.Resolvers, "allow")
	a.jumpIf(jeq, r9, unix.IPPROTO_UDP, "udp")
	a.jumpIf(jne, r9, unix.IPPROTO_TCP, "refuse")
	a.loadPacket(r8, tcpFlags, atFlags, 1, "refuse")
	a.load(unix.BPF_B, r3, r10, atFlags)
	a.and(r3, tcpSynAck)
	a.jumpIf(jeq, r3, tcpSyn, "refuse")
	a.jump("allow")

	a.label("udp")
	a.storeKey(r7, atPorts+2, atPorts)
	a.mapFD(r1, heard)
	a.address(r2, atKey)
	a.call(helperLookup)
	a.jumpIf(jeqPointer, r0, 0, "refuse")
	a.verdicts("allow", "refuse")
	return a.bytes()
}

// arriving remembers who sent a datagram from near, and lets everything in.
func (r Rules) arriving(heard int) []byte {
	a := newAssembler()
	a.openPacket("allow")
	a.jumpIf(jne, r9, unix.IPPROTO_UDP, "allow")
	a.load(unix.BPF_W, r7, r10, atHeader+ipSource)
	a.jumpIfIn(r7, r.beyond(), "near")
	a.jump("allow")

	a.label("near")
	a.loadPacket(r8, 0, atPorts, 4, "allow")
	a.storeKey(r7, atPorts, atPorts+2)
	a.set(r0, 0)
	a.store(unix.BPF_DW, r10, atValue, r0)
	a.mapFD(r1, heard)
	a.address(r2, atKey)
	a.address(r3, atValue)
	a.set(r4, 0) // BPF_ANY
	a.call(helperUpdate)
	a.verdicts("allow")
	return a.bytes()
}

// connecting says no at once, where the packet's fate alone would show only as
// a time-out. An IPv6 socket is asked about IPv4 addresses mapped into IPv6.
func (r Rules) connecting(mapped bool) []byte {
	a := newAssembler()
	a.load(unix.BPF_W, r0, r1, sockProtocol)
	a.jumpIf(jne, r0, unix.IPPROTO_TCP, "allow")
	at := int16(sockIP4)
	if mapped {
		at = sockIP6 + 12
		for i, want := range []uint32{0, 0, wire32([4]byte{0, 0, 0xff, 0xff})} {
			a.load(unix.BPF_W, r0, r1, sockIP6+4*int16(i))
			a.jumpIf(jne, r0, want, "allow")
		}
	}
	a.load(unix.BPF_W, r7, r1, at)
	a.load(unix.BPF_W, r3, r1, sockPort)
	a.jumpIf(jeq, r7, wire32(r.Address.Addr().As4()), "allow")
	a.jumpIfResolver(r7, r3, r.Resolvers, "allow")
	a.jumpIfIn(r7, r.near(), "refuse")
	a.verdicts("allow", "refuse")
	return a.bytes()
}

// openPacket passes what stays in the machine, and goes to foreign when the
// packet is not IPv4. Then the header is at atHeader, r8 is its length and r9
// the protocol.
func (a *assembler) openPacket(foreign string) {
	a.copy(r6, r1) // where helpers do not touch it
	a.load(unix.BPF_W, r0, r6, skbIfindex)
	a.jumpIf(jeq, r0, loopback, "allow")
	a.load(unix.BPF_W, r0, r6, skbProtocol)
	a.jumpIf(jne, r0, wire16(unix.ETH_P_IP), foreign)
	a.set(r8, 0)
	a.loadPacket(r8, 0, atHeader, ipSize, foreign)
	a.load(unix.BPF_B, r8, r10, atHeader)
	a.and(r8, 0x0f)
	a.shiftLeft(r8, 2)
	a.load(unix.BPF_B, r9, r10, atHeader+ipProtocol)
}

// loadPacket copies bytes of the packet from base+offset to the stack.
func (a *assembler) loadPacket(base reg, offset uint32, to int16, size uint32, otherwise string) {
	a.copy(r1, r6)
	a.copy(r2, base)
	a.add(r2, offset)
	a.address(r3, to)
	a.set(r4, size)
	a.call(helperLoadBytes)
	a.jumpIf(jne, r0, 0, otherwise)
}

// storeKey makes a key of an address and two ports on the stack.
func (a *assembler) storeKey(address reg, theirs, ours int16) {
	a.store(unix.BPF_W, r10, atKey, address)
	a.load(unix.BPF_H, r3, r10, theirs)
	a.store(unix.BPF_H, r10, atKey+4, r3)
	a.load(unix.BPF_H, r3, r10, ours)
	a.store(unix.BPF_H, r10, atKey+6, r3)
}

// jumpIfIn uses r2.
func (a *assembler) jumpIfIn(address reg, networks []netip.Prefix, label string) {
	for _, n := range networks {
		a.copy(r2, address)
		a.and(r2, wire32([4]byte(net.CIDRMask(n.Bits(), 32))))
		a.jumpIf(jeq, r2, wire32(n.Addr().As4()), label)
	}
}

func (a *assembler) jumpIfResolver(address, port reg, resolvers []netip.Addr, label string) {
	for i, ip := range resolvers {
		next := fmt.Sprint("after resolver ", i)
		a.jumpIf(jne, address, wire32(ip.As4()), next)
		a.jumpIf(jeq, port, wire16(53), label)
		a.label(next)
	}
}

// wire32 is how a program sees bytes of the wire that it loads as one word.
func wire32(b [4]byte) uint32 { return binary.NativeEndian.Uint32(b[:]) }

func wire16(n uint16) uint32 {
	return uint32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)))
}
