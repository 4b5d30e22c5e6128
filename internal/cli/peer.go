package cli

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/peer"
	"holdfast/internal/wiring"
)

func (a *app) peerVerbs() *cobra.Command {
	return group("peer", "Know the nodes that blobs are shared with",
		a.peerList(), a.peerAdd(), a.peerRemove(), a.peerID(), a.peerPing(), a.swarmKeyVerbs())
}

func (a *app) peerList() *cobra.Command {
	return a.withInstallation(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List peers",
		Long: `Lists the peers of the node that "holdfast serve" runs: those that are listed,
those that are connected, and those that were dropped because they lied. When
none runs, the listed ones.

Exit codes: 0 listed, 1 failed, 2 usage.`,
		Example: "  holdfast peer ls",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, dir wiring.Installation, _ []string) error {
		s, err := dir.PeerStatus(cmd.Context())
		if err != nil && !errors.Is(err, wiring.ErrNotServing) {
			return err
		}
		return a.answer(map[string]any{"serving": err == nil, "peers": s.Peers}, func(w io.Writer) { printPeers(w, s.Peers) })
	})
}

func printPeers(w io.Writer, peers []peer.Peer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "PEER\tADDRESS\tLISTED\tSTATE\tSENT\tRECEIVED")
	for _, p := range peers {
		state, isListed := "away", "-"
		switch {
		case p.Connected && p.Latency > 0:
			state = "connected, " + p.Latency.Round(time.Microsecond).String()
		case p.Connected:
			state = "connected"
		}
		if p.Trouble != "" {
			state = p.Trouble
		}
		if p.Listed {
			isListed = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\n", p.ID, printable(p.Address), isListed, cut(printable(state), longReason), p.Sent, p.Received)
	}
}

// cut shortens text for a table.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

func (a *app) peerAdd() *cobra.Command {
	return a.withInstallation(&cobra.Command{
		Use:   "add ADDRESS",
		Short: "Stay connected to a peer",
		Long: `Lists a peer that "holdfast serve" stays connected to, now and whenever it runs.
ADDRESS is a multiaddr that ends in the peer's ID, as the other's "holdfast peer
id" prints it. A peer that was dropped because it lied gets another chance.

Exit codes: 0 listed, 1 failed, 2 usage.`,
		Example: "  holdfast peer add /ip4/192.0.2.7/tcp/4001/p2p/12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir wiring.Installation, args []string) error {
		if err := dir.AddPeer(cmd.Context(), args[0]); err != nil {
			return err
		}
		listed := peer.Listed(args[0])
		return a.answer(listed, func(w io.Writer) { fmt.Fprintln(w, listed.ID) })
	})
}

func (a *app) peerRemove() *cobra.Command {
	return a.withInstallation(&cobra.Command{
		Use:   "rm ID",
		Short: "Take a peer off the list, and disconnect from it",
		Long: `Takes a peer off the list, and disconnects from it. It can connect again itself:
who has the swarm's key is a peer.

Exit codes: 0 removed, 1 failed (also when it is not listed), 2 usage.`,
		Example: "  holdfast peer rm 12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir wiring.Installation, args []string) error {
		if err := dir.RemovePeer(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.answer(map[string]string{"id": args[0]}, func(w io.Writer) { fmt.Fprintln(w, args[0]) })
	})
}

func (a *app) peerID() *cobra.Command {
	return a.withInstallation(&cobra.Command{
		Use:   "id",
		Short: "Show who this node is, and where others find it",
		Long: `Shows the node's PeerID, and its did:key, which is the same Ed25519 key; and,
while "holdfast serve" runs, the addresses to give to others.

Exit codes: 0 shown, 1 failed, 2 usage.`,
		Example: "  holdfast peer id",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, dir wiring.Installation, _ []string) error {
		s, err := dir.PeerStatus(cmd.Context())
		if err != nil && !errors.Is(err, wiring.ErrNotServing) {
			return err
		}
		s.Peers = nil
		return a.answer(map[string]any{"id": s.ID, "did": s.DID, "addresses": s.Addresses, "serving": err == nil}, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n%s\n", s.ID, s.DID)
			for _, address := range s.Addresses {
				fmt.Fprintln(w, address)
			}
		})
	})
}

func (a *app) peerPing() *cobra.Command {
	return a.withInstallation(&cobra.Command{
		Use:   "ping ID|ADDRESS",
		Short: "Measure how long a peer's answer takes",
		Long: `Has the node that "holdfast serve" runs connect to a peer, and measures how long
its answer takes.

Exit codes: 0 it answered, 1 it did not, 2 usage.`,
		Example: "  holdfast peer ping 12D3KooWCryG7Mon9orvQxcS1rYZjotPgpwoJNHHKcLLfE4Hf5mV",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir wiring.Installation, args []string) error {
		took, err := dir.PingPeer(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.answer(map[string]any{"peer": args[0], "round_trip_ns": took}, func(w io.Writer) { fmt.Fprintln(w, took) })
	})
}

func (a *app) swarmKeyVerbs() *cobra.Command {
	return group("swarm-key", "Bring nodes into one private swarm", a.swarmKeyExport(), a.swarmKeyImport())
}

func (a *app) swarmKeyExport() *cobra.Command {
	return a.withInstallation(&cobra.Command{
		Use:   "export FILE",
		Short: "Write the swarm's key to a file, for another node",
		Long: `Writes the key of the private swarm to a file that only you can read, making the
key when there is none. Who has it can read every blob of the swarm's nodes, so
carry it as you would a password. It is the file that IPFS nodes call swarm.key.

Exit codes: 0 written, 1 failed, 2 usage.`,
		Example: "  holdfast peer swarm-key export swarm.key",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir wiring.Installation, args []string) error {
		if err := dir.ExportSwarmKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.answer(map[string]string{"file": args[0]}, func(w io.Writer) { fmt.Fprintln(w, args[0]) })
	})
}

func (a *app) swarmKeyImport() *cobra.Command {
	var replace bool
	c := a.withInstallation(&cobra.Command{
		Use:   "import FILE",
		Short: "Join the swarm whose key is in a file",
		Long: `Joins the private swarm whose key another node exported. A "holdfast serve" that
runs stays in the swarm that it is in until it is started again.

Exit codes: 0 joined, 1 failed (also when there is another key), 2 usage.`,
		Example: "  holdfast peer swarm-key import swarm.key",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, dir wiring.Installation, args []string) error {
		if err := dir.ImportSwarmKey(cmd.Context(), args[0], replace); err != nil {
			return err
		}
		return a.answer(map[string]string{"file": dir.SwarmKeyFile()}, func(w io.Writer) { fmt.Fprintln(w, dir.SwarmKeyFile()) })
	})
	c.Flags().BoolVar(&replace, "replace", false, "leave the swarm that this node is in")
	return c
}

// withInstallation completes a verb that works on the installation.
func (a *app) withInstallation(c *cobra.Command, run func(*cobra.Command, wiring.Installation, []string) error) *cobra.Command {
	c.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		return run(cmd, dir, args)
	}
	return c
}
