package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/peer"
	"holdfast/internal/wiring"
)

// peerFlags are the flags of serve that are about other nodes.
func peerFlags(c *cobra.Command, p *wiring.PeerConfig) {
	c.Flags().StringVar(&p.Swarm, "swarm", peer.PrivateSwarm, "whom to share blobs with: private (who has keys/swarm.key), public (everybody) or off")
	c.Flags().StringVar(&p.Listen, "swarm-listen", "", "address where other nodes find this one, as 0.0.0.0:4001 (default: none, this one connects to others)")
	c.Flags().StringArrayVar(&p.Peers, "peer", nil, `node to stay connected to, beside those of "holdfast peer add": a multiaddr that ends in /p2p/ID; may be repeated`)
	c.Flags().StringVar((*string)(&p.DHT), "dht", string(peer.PrivateDHT), "where nodes write down who has what: private (among the swarm's), public (the world sees what is here) or off")
	c.Flags().BoolVar(&p.MDNS, "mdns", false, "tell the local network that this node exists, and connect to those that say so")
}

// checkPeer refuses what would be surprising.
func checkPeer(p *wiring.PeerConfig) error {
	switch p.Swarm {
	case peer.PrivateSwarm, peer.PublicSwarm:
	case "off":
		p.Swarm = ""
	default:
		return fmt.Errorf("--swarm %.40q: want private, public or off", p.Swarm)
	}
	switch p.DHT {
	case peer.PrivateDHT, peer.PublicDHT, peer.NoDHT:
	default:
		return fmt.Errorf("--dht %.40q: want private, public or off", string(p.DHT))
	}
	if p.DHT == peer.PublicDHT && p.Swarm == peer.PrivateSwarm {
		return errors.New("--dht public: a private swarm reaches nobody outside; --swarm public leaves it")
	}
	if p.MDNS && p.Listen == "" {
		return errors.New("--mdns: nobody could connect without --swarm-listen")
	}
	if _, err := peer.ListenAddresses(p.Listen, p.Swarm); err != nil {
		return err
	}
	for _, address := range p.Peers {
		if _, err := peer.ParseAddress(address); err != nil {
			return err
		}
	}
	return nil
}

func printPeerAddresses(w io.Writer, addresses []string) {
	if len(addresses) > 0 {
		fmt.Fprintf(w, "swarm    %s\n", strings.Join(addresses, "\n         "))
	}
}
