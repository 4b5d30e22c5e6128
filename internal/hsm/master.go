package hsm

import (
	"context"
	"encoding/json"
	"fmt"

	"holdfast/internal/seal"
)

// MasterKind names master keys that an HSM holds.
const MasterKind = "pkcs11"

// Masters keeps master keys in the HSM, as AES keys that never leave it.
func (c *Client) Masters() seal.Provider { return masters{c} }

type masters struct{ client *Client }

type masterParams struct {
	Token string `json:"token"`
	Label string `json:"label"`
}

func (p masters) Make(ctx context.Context, id seal.ID, _ json.RawMessage) (json.RawMessage, error) {
	params := masterParams{Token: p.client.config.Token, Label: "holdfast-master-" + id.String()}
	if err := p.client.Generate(ctx, params.Label, AES256); err != nil {
		return nil, err
	}
	return json.Marshal(params)
}

func (p masters) Open(ctx context.Context, id seal.ID, raw json.RawMessage) (seal.Master, error) {
	var params masterParams
	if err := json.Unmarshal(raw, &params); err != nil {
		return nil, err
	}
	if params.Token != p.client.config.Token {
		return nil, fmt.Errorf("it is in HSM token %q, and the configured one is %q", params.Token, p.client.config.Token)
	}
	return master{p.client, params.Label, id}, p.client.Kept(ctx, params.Label)
}

type master struct {
	client *Client
	label  string
	id     seal.ID
}

func (m master) Wrap(ctx context.Context, key []byte) ([]byte, error) {
	return m.client.Encrypt(ctx, m.label, key, seal.WrapContext(m.id))
}

func (m master) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return m.client.Decrypt(ctx, m.label, wrapped, seal.WrapContext(m.id))
}
