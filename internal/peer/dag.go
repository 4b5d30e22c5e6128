package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"holdfast/internal/blob"
	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

// dagProtocol leads from a digest to the blocks of a blob; see
// docs/formats/ipfs.md.
const dagProtocol = "/holdfast/dag/1"

const (
	maxLine = 256 // bytes of a request or an answer

	askTime    = 5 * time.Second // how long an answer may take
	answerTime = 2 * time.Minute // how long we work on one: a large blob is hashed
	none       = "none"
)

// An offer is what a peer says of a blob.
type offer struct {
	root cid.Cid
	size int64
}

// answerDAG serves one request until ctx ends.
func (n *Node) answerDAG(ctx context.Context, s network.Stream) {
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_ = s.SetDeadline(time.Now().Add(answerTime))
	line, err := readLine(s)
	if err != nil {
		_ = s.Reset()
		return
	}
	d, err := oci.ParseDigest(line)
	if err != nil {
		_ = s.Reset()
		return
	}
	answer := none
	switch dag, err := n.config.Store.DAG(ctx, d); {
	case err == nil:
		answer = fmt.Sprintf("%s %d", dag.Root, dag.Size)
	case !errors.Is(err, blob.ErrNotFound):
		n.config.Logger.Warn("peer not answered", "digest", d, "cause", err)
	}
	_, _ = io.WriteString(s, answer+"\n")
}

// askDAG asks p for d.
func (n *Node) askDAG(ctx context.Context, p peer.ID, d oci.Digest) (offer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	s, err := n.host.NewStream(network.WithNoDial(ctx, "asked of the connected"), p, dagProtocol)
	if err != nil {
		return offer{}, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if _, err := io.WriteString(s, string(d)+"\n"); err != nil {
		return offer{}, err
	}
	if err := s.CloseWrite(); err != nil {
		return offer{}, err
	}
	line, err := readLine(s)
	if err != nil {
		return offer{}, err
	}
	return parseOffer(line, d, n.config.MaxBlob)
}

// readLine reads the one line that either side sends.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxLine), maxLine).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("no line of at most %d bytes: %w", maxLine, err)
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// parseOffer reads an answer about d.
func parseOffer(line string, d oci.Digest, most int64) (offer, error) {
	if line == none {
		return offer{}, ErrNotFound
	}
	name, length, _ := strings.Cut(line, " ")
	root, err := cid.Decode(name)
	if err != nil {
		return offer{}, fmt.Errorf("answer %.80q: want ROOT SIZE or none", line)
	}
	size, err := strconv.ParseInt(length, 10, 64)
	if err != nil || size < 0 || size > most {
		return offer{}, fmt.Errorf("answer %.80q: want a size of at most %d", line, most)
	}
	own, err := ipfs.DigestCID(d)
	if err != nil {
		return offer{}, err
	}
	if (size <= ipfs.MaxBlock) != root.Equals(own) {
		return offer{}, fmt.Errorf("answer %.80q: a blob is its own root up to %d bytes", line, ipfs.MaxBlock)
	}
	return offer{root, size}, nil
}
