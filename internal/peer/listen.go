package peer

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// ListenAddresses are the multiaddrs for HOST:PORT, as other services listen:
// TCP, and in the public swarm also QUIC. An empty host is every address of
// the machine.
func ListenAddresses(address, swarm string) ([]string, error) {
	if address == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	hosts := []net.IP{net.ParseIP(host)}
	switch {
	case err != nil:
	case host == "":
		hosts = []net.IP{net.IPv4zero, net.IPv6zero}
	case host == "localhost":
		hosts = []net.IP{net.IPv4(127, 0, 0, 1)}
	case hosts[0] == nil:
		err = errors.New("no address")
	}
	if err != nil {
		return nil, fmt.Errorf("swarm address %.80q: want HOST:PORT, as 0.0.0.0:4001", address)
	}
	var list []string
	for _, ip := range hosts {
		base := "/ip6/" + ip.String()
		if ip.To4() != nil {
			base = "/ip4/" + ip.String()
		}
		list = append(list, base+"/tcp/"+port)
		if swarm == PublicSwarm {
			list = append(list, base+"/udp/"+port+"/quic-v1")
		}
	}
	return list, nil
}
