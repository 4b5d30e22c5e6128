package enc

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// WrapA256GCM is the only wrapping written or accepted. A256CTR, which
// guest-components also reads, authenticates nothing.
const WrapA256GCM = "A256GCM"

// A Packet is what the attestation agent's annotation holds, as JSON in
// base64: the private options sealed with a broker's resource.
// guest-components, confidential-data-hub/hub/src/image/annotation_packet.
type Packet struct {
	Version  string `json:"version,omitempty"`  // "0.1.0" or absent
	KID      string `json:"kid"`                // kbs:///REPOSITORY/TYPE/TAG
	Wrapped  string `json:"wrapped_data"`       // base64 of ciphertext and tag
	Provider string `json:"provider,omitempty"` // "kbs" or absent
	IV       string `json:"iv"`                 // base64 of 12 bytes
	WrapType string `json:"wrap_type"`          // "A256GCM"
}

// resourceForm is a broker resource without a host: which broker to ask is
// the machine's configuration, never the image's.
var resourceForm = regexp.MustCompile(`^kbs:///[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)

// CheckKID says whether kid names a broker resource.
func CheckKID(kid string) error {
	if len(kid) > 512 || !resourceForm.MatchString(kid) {
		return fmt.Errorf("resource %.80q: want kbs:///REPOSITORY/TYPE/TAG", kid)
	}
	return nil
}

// ParsePacket reads an annotation packet. It does not judge the key id, which
// whoever fetches the key does.
func ParsePacket(raw []byte) (Packet, error) {
	var p Packet
	err := decodeExact(raw, &p, "version", "kid", "wrapped_data", "provider", "iv", "wrap_type",
		"provider_settings", "annotations")
	switch {
	case err != nil:
		return Packet{}, fmt.Errorf("%w: packet: %v", ErrFormat, err)
	case p.KID == "":
		return Packet{}, fmt.Errorf("%w: packet has no kid", ErrFormat)
	case p.Version != "" && p.Version != "0.1.0":
		return Packet{}, fmt.Errorf("%w: packet version is %.20q, want 0.1.0", ErrFormat, p.Version)
	case p.Provider != "" && p.Provider != "kbs":
		return Packet{}, fmt.Errorf("%w: packet is for key provider %.20q, want kbs", ErrFormat, p.Provider)
	case p.WrapType != WrapA256GCM:
		return Packet{}, fmt.Errorf("%w: packet is wrapped by %.20q, want %s", ErrFormat, p.WrapType, WrapA256GCM)
	}
	return p, nil
}

// SealPacket wraps private options with the 32-byte key that kid names.
func SealPacket(kid string, kek, options []byte) (Packet, error) {
	return sealPacket(kid, kek, options, rand.Reader)
}

func sealPacket(kid string, kek, options []byte, random io.Reader) (Packet, error) {
	aead, err := newGCM(kek)
	if err != nil {
		return Packet{}, fmt.Errorf("%s: %w", kid, err)
	}
	iv := make([]byte, aead.NonceSize())
	if _, err := io.ReadFull(random, iv); err != nil {
		return Packet{}, err
	}
	return Packet{
		KID:      kid,
		Wrapped:  base64.StdEncoding.EncodeToString(aead.Seal(nil, iv, options, nil)),
		IV:       base64.StdEncoding.EncodeToString(iv),
		WrapType: WrapA256GCM,
	}, nil
}

// Open unwraps the private options with the key that the packet's KID names.
func (p Packet) Open(kek []byte) ([]byte, error) {
	aead, err := newGCM(kek)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.KID, err)
	}
	box, err := p.Box()
	if err != nil {
		return nil, err
	}
	options, err := aead.Open(nil, box[:gcmNonce], box[gcmNonce:], nil)
	if err != nil {
		return nil, fmt.Errorf("%s does not open the layer key: another key wrapped it, or it was altered", p.KID)
	}
	return options, nil
}

func newGCM(kek []byte) (cipher.AEAD, error) {
	if len(kek) != keySize {
		return nil, fmt.Errorf("wrapping key has %d bytes, want %d", len(kek), keySize)
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// BrokerRecipient wraps with the resource that kid names, whose 32 bytes are
// kek: whoever the broker releases it to can decrypt.
func BrokerRecipient(kid string, kek []byte) Recipient { return brokerRecipient{kid, kek} }

type brokerRecipient struct {
	kid string
	kek []byte
}

func (b brokerRecipient) String() string { return b.kid }

func (b brokerRecipient) Wrap(options []byte) (string, []byte, error) {
	if err := CheckKID(b.kid); err != nil {
		return "", nil, err
	}
	packet, err := SealPacket(b.kid, b.kek, options)
	if err != nil {
		return "", nil, err
	}
	raw, err := json.Marshal(packet)
	return AnnotationBroker, raw, err
}

// KeptRecipient wraps with a key that nobody has: wrap has the packet made
// where the key is kept.
func KeptRecipient(kid string, wrap func(options []byte) (Packet, error)) Recipient {
	return keptRecipient{kid, wrap}
}

type keptRecipient struct {
	kid  string
	wrap func([]byte) (Packet, error)
}

func (k keptRecipient) Wrap(options []byte) (string, []byte, error) {
	packet, err := k.wrap(options)
	if err == nil && (packet.KID != k.kid || packet.WrapType != WrapA256GCM) {
		err = fmt.Errorf("%w: the packet is for %.80q by %.20q, want %s by %s", ErrFormat, packet.KID, packet.WrapType, k.kid, WrapA256GCM)
	}
	if err != nil {
		return "", nil, err
	}
	raw, err := json.Marshal(packet)
	return AnnotationBroker, raw, err
}

// Box is what the packet holds, as AES-GCM is mostly kept: nonce, ciphertext, tag.
func (p Packet) Box() ([]byte, error) {
	wrapped, err := decodeBase64(p.Wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: packet's wrapped_data: %v", ErrFormat, err)
	}
	iv, err := decodeBase64(p.IV)
	if err != nil || len(iv) != gcmNonce {
		return nil, fmt.Errorf("%w: packet's iv: want base64 of %d bytes", ErrFormat, gcmNonce)
	}
	return append(iv, wrapped...), nil
}

// gcmNonce is the size of a packet's iv.
const gcmNonce = 12

// PacketOf is the packet of a box, as Box gives it.
func PacketOf(kid string, box []byte) Packet {
	return Packet{
		KID: kid, WrapType: WrapA256GCM,
		IV:      base64.StdEncoding.EncodeToString(box[:gcmNonce]),
		Wrapped: base64.StdEncoding.EncodeToString(box[gcmNonce:]),
	}
}

// KeyFor gives the 32 bytes of the broker resource that kid names.
type KeyFor func(ctx context.Context, kid string) ([]byte, error)

// A Keeper is what KeyFor fails with when the key is not to be had, but opens
// packets where it is.
type Keeper interface {
	error
	OpenPacket(ctx context.Context, packet []byte) (options []byte, err error)
}

// BrokerKey unwraps packets with resources that get fetches.
func BrokerKey(get KeyFor) Key { return brokerKey{get} }

type brokerKey struct{ get KeyFor }

func (brokerKey) Annotation() string { return AnnotationBroker }

func (b brokerKey) Unwrap(ctx context.Context, raw []byte) ([]byte, error) {
	packet, err := ParsePacket(raw)
	if err != nil {
		return nil, err
	}
	if err := CheckKID(packet.KID); err != nil {
		return nil, fmt.Errorf("%w: packet's kid: %w", ErrFormat, err)
	}
	kek, err := b.get(ctx, packet.KID)
	var keeper Keeper
	if errors.As(err, &keeper) {
		return keeper.OpenPacket(ctx, raw)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", packet.KID, err)
	}
	return packet.Open(kek)
}
