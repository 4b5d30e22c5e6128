// Package keyprovider is a key provider of ocicrypt: skopeo and other tools ask
// it to wrap the keys of an image's layers for a broker, and to unwrap them.
//
// The provider itself holds no key. It has a broker wrap and unwrap, so that
// what a layer's key is wrapped with never leaves the broker, and every call is
// in the broker's log.
//
// The protocol: docs/formats/keyprovider.md.
package keyprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/internal/enc"
)

// Name is what the provider is called in annotations and parameters.
const Name = "attestation-agent"

// Keys are a broker's resources that wrap others' keys.
type Keys interface {
	// Create makes kid a resource with key as its value, or one of its own
	// choice when key is nil. One that is there stays as it is.
	Create(ctx context.Context, kid string, key []byte) error
	// Wrap returns an annotation packet.
	Wrap(ctx context.Context, kid string, options []byte) (json.RawMessage, error)
	// Unwrap opens one.
	Unwrap(ctx context.Context, packet json.RawMessage) (options []byte, err error)
}

// Errors that a caller may branch on.
var (
	ErrMessage = errors.New("malformed message")
	ErrDenied  = errors.New("not done here")
)

// A Provider answers the calls of one place.
type Provider struct {
	Keys Keys
	// Unwraps says whether whoever reaches the provider may have keys unwrapped.
	Unwraps bool
	// ReadKey reads a file of a client's choice; nil: clients name no files.
	ReadKey func(path string) ([]byte, error)
	// NewKID names a new key.
	NewKID func() string
}

// Answer does what a message asks for, and returns the answer's message.
func (p Provider) Answer(ctx context.Context, raw []byte) ([]byte, error) {
	m, err := parse(raw)
	if err != nil {
		return nil, err
	}
	var out output
	switch m.Op {
	case opWrap:
		out.Wrapped, err = p.wrap(ctx, m)
	case opUnwrap:
		out.Unwrapped, err = p.unwrap(ctx, m)
	default:
		err = fmt.Errorf("%w: op is %.20q, want %s or %s", ErrMessage, m.Op, opWrap, opUnwrap)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

func (p Provider) wrap(ctx context.Context, m input) (*wrapResult, error) {
	word, err := m.parameters()
	if err != nil {
		return nil, err
	}
	request, err := ParseParameters(word)
	if err != nil {
		return nil, err
	}
	var key []byte
	if request.KeyPath != "" {
		if key, err = p.readKey(request.KeyPath); err != nil {
			return nil, err
		}
	}
	if request.KID == "" {
		request.KID = p.NewKID()
	}
	if err := p.Keys.Create(ctx, request.KID, key); err != nil {
		return nil, err
	}
	packet, err := p.Keys.Wrap(ctx, request.KID, m.Wrap.Options)
	return &wrapResult{octets(packet)}, err
}

func (p Provider) readKey(path string) ([]byte, error) {
	if p.ReadKey == nil {
		return nil, fmt.Errorf("%w: keypath: this provider reads no files of its clients' choice", ErrDenied)
	}
	key, err := p.ReadKey(path)
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("%w: keypath: the file has %d bytes, want %d", ErrMessage, len(key), keySize)
	}
	return key, err
}

const keySize = 32

func (p Provider) unwrap(ctx context.Context, m input) (*unwrapResult, error) {
	if !p.Unwraps {
		return nil, fmt.Errorf("%w: keys are unwrapped for the owner of a unix socket alone", ErrDenied)
	}
	if _, err := enc.ParsePacket(m.Unwrap.Annotation); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	options, err := p.Keys.Unwrap(ctx, json.RawMessage(m.Unwrap.Annotation))
	return &unwrapResult{options}, err
}
