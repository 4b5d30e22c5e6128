package swarm

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"path/filepath"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/keys"
	"holdfast/internal/peer"
)

// liar starts a node that has the roots of another's blobs, says that it has
// all of their blocks, and sends other bytes. It gives the liar's address.
func (l *lab) liar(honest *node) string {
	l.Helper()
	n := l.node()
	c := n.command(n.address, l.key, filepath.Join(honest.dir, "state", "registry"))
	c.Env = append(c.Env, asHoldfast+"=liar")
	in, err := c.StdinPipe()
	if err != nil {
		l.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := c.Start(); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = in.Close(); _ = c.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		l.Fatal("the liar does not start")
	}
	return lines.Text()
}

// lie is the liar's process, which ends with its input.
func lie() int {
	if err := lieUntil(os.Stdin, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func lieUntil(end io.Reader, address, key, registry string) error {
	raw, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	swarm, err := keys.ParseSwarmKey(raw)
	if err != nil {
		return err
	}
	blobs, err := pool.New(filepath.Join(registry, pool.Dir))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "liar-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := ipfs.New(ipfs.Config{Pool: blobs, Dir: dir})
	if err != nil {
		return err
	}
	defer store.Close()
	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	n, err := peer.New(peer.Config{Key: own, SwarmKey: (*[32]byte)(&swarm), Store: lying{store}, Listen: []string{"/ip4/" + address + "/tcp/4001"}})
	if err != nil {
		return err
	}
	defer n.Close()
	fmt.Println(n.Status().Addresses[0])
	_, err = io.Copy(io.Discard, end)
	return err
}

// lying has every block, and each is wrong.
type lying struct{ *ipfs.Store }

func (lying) Get(_ context.Context, c cid.Cid) (blocks.Block, error) {
	return blocks.NewBlockWithCid([]byte("not what "+c.String()+" names"), c)
}

func (lying) Has(context.Context, cid.Cid) (bool, error)    { return true, nil }
func (lying) GetSize(context.Context, cid.Cid) (int, error) { return 1000, nil }
