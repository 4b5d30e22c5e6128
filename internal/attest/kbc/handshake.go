package kbc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

var errClosed = errors.New("KBS client is closed")

// A session is what one handshake gained.
type session struct {
	token   string
	cookies []*http.Cookie
}

// attest runs request, challenge, attestation and response. A broken connection
// is tried again from the start, because the broker may have used up the nonce.
func (c *Client) attest(ctx context.Context) error {
	if c.key == nil {
		return errClosed
	}
	return c.retry(ctx, func() error {
		s, err := c.handshake(ctx)
		if err == nil {
			c.session = *s
		}
		return err
	})
}

func (c *Client) handshake(ctx context.Context) (*session, error) {
	s := &session{}
	nonce, params, err := c.request(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("request a challenge: %w", err)
	}
	proof, err := c.prove(ctx, nonce, params)
	if err != nil {
		return nil, fmt.Errorf("make evidence: %w", err)
	}
	var token api.KBSToken
	if err := c.post(ctx, s, "/attest", proof, &token); err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	if token.Token == "" {
		return nil, errors.New("attest: the broker's answer has no token")
	}
	s.token = token.Token
	return s, nil
}

// request opens the handshake and returns the broker's nonce and challenge.
func (c *Client) request(ctx context.Context, s *session) (string, *api.ChallengeParams, error) {
	offer, err := c.config.Attester.Offer(ctx)
	if err != nil {
		return "", nil, err
	}
	extra, err := json.Marshal(api.RequestParams{
		SupportedHashAlgorithms: []string{attest.HashAlgorithm},
		Activation:              offer,
	})
	if err != nil {
		return "", nil, err
	}
	var challenge api.KBSChallenge
	request := api.KBSRequest{Version: api.KBSVersion, TEE: c.config.Attester.TEE(), ExtraParams: extra}
	if err := c.post(ctx, s, "/auth", request, &challenge); err != nil {
		return "", nil, err
	}
	params, err := challengeParams(challenge.ExtraParams)
	if err == nil && challenge.Nonce == "" {
		err = errors.New("the broker's challenge has no nonce")
	}
	return challenge.Nonce, params, err
}

// challengeParams reads a challenge's extra-params, which other brokers leave
// empty: null or "".
func challengeParams(raw json.RawMessage) (*api.ChallengeParams, error) {
	params := &api.ChallengeParams{}
	if s := string(raw); s == "" || s == `""` {
		return params, nil
	}
	if err := json.Unmarshal(raw, params); err != nil {
		return nil, fmt.Errorf("the broker's challenge: %w", err)
	}
	if a := params.SelectedHashAlgorithm; a != "" && a != attest.HashAlgorithm {
		return nil, fmt.Errorf("the broker selected hash algorithm %q, expected %q", a, attest.HashAlgorithm)
	}
	return params, nil
}

// prove binds evidence to the nonce and to this client's key.
func (c *Client) prove(ctx context.Context, nonce string, params *api.ChallengeParams) (*api.KBSAttestation, error) {
	jwk, err := c.jwk()
	if err != nil {
		return nil, err
	}
	data := api.RuntimeData{Nonce: nonce, TEEPubKey: jwk}
	digest, err := attest.RuntimeDigest(data, "")
	if err != nil {
		return nil, err
	}
	evidence, err := c.config.Attester.Evidence(ctx, digest, params.Activation)
	if err != nil {
		return nil, err
	}
	proof := &api.KBSAttestation{RuntimeData: data, TEEEvidence: api.CompositeEvidence{Primary: evidence}}
	if c.config.InitData != nil {
		proof.InitData = &api.InitDataMessage{Format: "toml", Body: string(c.config.InitData)}
	}
	return proof, nil
}

// jwk is the ephemeral key as kbs-types 0.18 writes a TeePubKey.
func (c *Client) jwk() (json.RawMessage, error) {
	point, err := c.key.PublicKey.Bytes() // SEC 1 uncompressed: 4, X, Y
	if err != nil {
		return nil, err
	}
	x, y := point[1:33], point[33:65]
	return json.Marshal(map[string]string{
		"kty": "EC",
		"crv": "P-256",
		"alg": "ECDH-ES+A256KW",
		"x":   base64.RawURLEncoding.EncodeToString(x),
		"y":   base64.RawURLEncoding.EncodeToString(y),
	})
}
