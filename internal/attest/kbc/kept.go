package kbc

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kept is the error of a resource that is a key which never leaves the
// broker's HSM: it opens packets there.
type Kept struct {
	client  *Client
	path    string
	problem *Problem
}

func (k *Kept) Error() string { return k.problem.Error() }

// Unwrap gives the broker's refusal.
func (k *Kept) Unwrap() error { return k.problem }

// OpenPacket has the broker open the packet of an encrypted layer
// (docs/formats/encrypted-image.md), and returns what is in it.
func (k *Kept) OpenPacket(ctx context.Context, packet []byte) ([]byte, error) {
	options, err := k.client.ask(ctx, call{http.MethodPost, "/pkcs11/unwrap-key/" + k.path, packet})
	if err != nil {
		return nil, fmt.Errorf("open a packet with kbs:///%s: %w", k.path, err)
	}
	return options, nil
}

// A Certificate that the broker's authority gave, with what others check it by.
type Certificate struct {
	ID          string    `json:"spiffe_id"`
	Certificate string    `json:"certificate"` // PEM
	Bundle      string    `json:"bundle"`      // PEM
	Expires     time.Time `json:"expires"`
}

// Certify asks for a certificate as the resource that uri names, for the key
// of a certificate request in DER. What comes back can be read only by this
// client: so a token alone is of no use.
func (c *Client) Certify(ctx context.Context, uri string, request []byte) (*Certificate, error) {
	path, err := resourcePath(uri)
	if err != nil {
		return nil, err
	}
	if _, err := x509.ParseCertificateRequest(request); err != nil {
		return nil, err
	}
	raw, err := c.ask(ctx, call{http.MethodPost, "/spiffe/svid/" + path, request})
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", uri, err)
	}
	var issued Certificate
	if err := json.Unmarshal(raw, &issued); err != nil {
		return nil, fmt.Errorf("certificate %s: the broker's answer: %w", uri, err)
	}
	if !strings.HasSuffix(issued.ID, "/"+path) {
		return nil, fmt.Errorf("certificate %s: the broker gave one for %.200q", uri, issued.ID)
	}
	return &issued, nil
}
