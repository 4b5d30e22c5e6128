package kbc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
)

// A call is a request whose answer only this client can read.
type call struct {
	method, path string // below the KBS prefix
	body         []byte
}

// call makes one within the session, and opens the answer.
func (c *Client) call(ctx context.Context, what call) ([]byte, error) {
	if c.key == nil {
		return nil, errClosed
	}
	var body []byte
	err := c.retry(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, what.method, c.config.URL+api.KBSPrefix+what.path, bytes.NewReader(what.body))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+c.session.token)
		body, err = c.do(request, &c.session)
		return err
	})
	if err != nil {
		return nil, err
	}
	return open(body, c.key)
}

// open decrypts a flattened JSON JWE (RFC 7516, 7.2.2) with the one pair of
// algorithms that the key announced.
func open(body []byte, key *ecdsa.PrivateKey) ([]byte, error) {
	jwe, err := jose.ParseEncryptedJSON(string(body),
		[]jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return nil, fmt.Errorf("the broker's answer is no JWE for this key: %w", err)
	}
	data, err := jwe.Decrypt(key)
	if err != nil {
		return nil, fmt.Errorf("the broker's answer was not encrypted to this key: %w", err)
	}
	return data, nil
}
