package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"holdfast/internal/api"
)

// A KeptKey is what the broker's HSM says of a key.
type KeptKey struct {
	Label            string `json:"label"`
	Class            string `json:"class"`
	Type             string `json:"type"`
	Sensitive        bool   `json:"sensitive"`
	Extractable      bool   `json:"extractable"`
	NeverExtractable bool   `json:"never_extractable"`
}

// KeptKeys lists the keys in the broker's HSM.
func (c *Client) KeptKeys(ctx context.Context) (list []KeptKey, err error) {
	return list, c.do(ctx, http.MethodGet, api.KBSPrefix+"/pkcs11/keys", nil, &list)
}

// MakeKept makes a wrapping key in the broker's HSM, which it never leaves.
func (c *Client) MakeKept(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodPost, api.KBSPrefix+"/pkcs11/key/"+path, nil, nil)
}

// WrapKept has a key in the broker's HSM wrap a layer's private options, and
// returns the packet.
func (c *Client) WrapKept(ctx context.Context, path string, options []byte) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodPost, api.KBSPrefix+"/pkcs11/wrap-key/"+path, bytes.NewReader(options), nil)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", c.URL, err)
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}
