package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"holdfast/internal/api"
)

// WrapKey has the broker wrap a layer's private options with a resource of 32
// bytes, and returns an annotation packet.
func (c *Client) WrapKey(ctx context.Context, path string, options []byte) (json.RawMessage, error) {
	var answer api.KeyWrap
	err := c.do(ctx, http.MethodPost, api.KeyWrapPath, api.KeyWrap{Resource: path, Options: options}, &answer)
	return answer.Packet, err
}

// UnwrapKey has the broker open an annotation packet.
func (c *Client) UnwrapKey(ctx context.Context, packet json.RawMessage) (options []byte, err error) {
	var answer api.KeyWrap
	err = c.do(ctx, http.MethodPost, api.KeyUnwrapPath, api.KeyWrap{Packet: packet}, &answer)
	return answer.Options, err
}
