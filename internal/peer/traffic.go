package peer

// Traffic is what a node gave and got since it was started, and with how many
// it is connected now.
type Traffic struct {
	Sent, Received uint64 // bytes of blocks
	Peers          int
}

// Traffic counts.
func (n *Node) Traffic() Traffic {
	t := Traffic{Peers: len(n.host.Network().Peers())}
	if s, err := n.exchange.Stat(); err == nil {
		t.Sent, t.Received = s.DataSent, s.DataReceived
	}
	return t
}
