package peer

import (
	"crypto/ed25519"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// idOf is the PeerID of a key: the key itself behind a few bytes of header.
// https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
func idOf(key ed25519.PublicKey) (peer.ID, error) {
	k, err := crypto.UnmarshalEd25519PublicKey(key)
	if err != nil {
		return "", err
	}
	return peer.IDFromPublicKey(k)
}

// keyOf is the key of a PeerID that holds one.
func keyOf(p peer.ID) (ed25519.PublicKey, error) {
	k, err := p.ExtractPublicKey()
	if err != nil {
		return nil, err
	}
	raw, err := k.Raw()
	if err != nil || k.Type() != crypto.Ed25519 {
		return nil, fmt.Errorf("peer %s: its key is not Ed25519", p)
	}
	return raw, nil
}
