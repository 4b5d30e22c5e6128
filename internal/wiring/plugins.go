package wiring

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"holdfast/internal/broker"
	"holdfast/internal/ca"
	"holdfast/internal/enc"
	"holdfast/internal/hsm"
)

// An hsmPlugin uses keys that stay in the HSM. Their labels there are the paths
// of resources. The name and wrap-key are Trustee's
// (kbs/src/plugins/implementations/pkcs11.rs).
type hsmPlugin struct{ client *hsm.Client }

func (hsmPlugin) Name() string { return "pkcs11" }

func (hsmPlugin) Access(method string, path []string) broker.Access {
	named := len(path) == 4 && method == http.MethodPost
	switch {
	case named && path[0] == "unwrap-key":
		return broker.Machines
	case named && (path[0] == "wrap-key" || path[0] == "key"), method == http.MethodGet && len(path) == 1 && path[0] == "keys":
		return broker.Administrators
	}
	return broker.Nobody
}

func (p hsmPlugin) Serve(ctx context.Context, c broker.Call) (broker.Answer, error) {
	if c.Path[0] == "keys" {
		return p.list(ctx)
	}
	path := strings.Join(c.Path[1:], "/")
	answer, err := broker.Answer{}, error(nil)
	switch c.Path[0] {
	case "unwrap-key":
		answer.Body, err = p.unwrap(ctx, path, c.Body)
	case "wrap-key":
		answer, err = p.wrap(ctx, path, c.Body)
	case "key":
		err = p.client.Generate(ctx, path, hsm.AES256)
	}
	return answer, hsmError(err)
}

// hsmError tells the reader what he can do something about.
func hsmError(err error) error {
	switch {
	case errors.Is(err, enc.ErrFormat), errors.Is(err, hsm.ErrRefused):
		return broker.PluginError(http.StatusBadRequest, err)
	case errors.Is(err, hsm.ErrAbsent):
		return broker.PluginError(http.StatusNotFound, err)
	case errors.Is(err, hsm.ErrExist):
		return broker.PluginError(http.StatusConflict, err)
	case errors.Is(err, hsm.ErrDown), errors.Is(err, hsm.ErrPIN):
		return broker.PluginError(http.StatusServiceUnavailable, err)
	}
	return err
}

// unwrap opens the packet of an encrypted layer. A key that could leave the HSM
// is not used: what is promised of it would not hold.
func (p hsmPlugin) unwrap(ctx context.Context, path string, raw []byte) ([]byte, error) {
	packet, err := enc.ParsePacket(raw)
	if err != nil {
		return nil, err
	}
	if packet.KID != kbsScheme+path {
		return nil, fmt.Errorf("%w: the packet is for %.200q, and was sent to %s", enc.ErrFormat, packet.KID, path)
	}
	box, err := packet.Box()
	if err != nil {
		return nil, err
	}
	if err := p.client.Kept(ctx, path); err != nil {
		return nil, err
	}
	return p.client.Decrypt(ctx, path, box, nil)
}

// wrap makes the packet of an encrypted layer.
func (p hsmPlugin) wrap(ctx context.Context, path string, options []byte) (broker.Answer, error) {
	if _, err := enc.ParsePrivate(options); err != nil {
		return broker.Answer{}, err
	}
	if err := p.client.Kept(ctx, path); err != nil {
		return broker.Answer{}, err
	}
	box, err := p.client.Encrypt(ctx, path, options, nil)
	if err != nil {
		return broker.Answer{}, err
	}
	raw, err := json.Marshal(enc.PacketOf(kbsScheme+path, box))
	return broker.Answer{Body: raw, Type: "application/json"}, err
}

func (p hsmPlugin) list(ctx context.Context) (broker.Answer, error) {
	keys, err := p.client.List(ctx, "")
	if err != nil {
		return broker.Answer{}, hsmError(err)
	}
	raw, err := json.Marshal(append([]hsm.Info{}, keys...))
	return broker.Answer{Body: raw, Type: "application/json"}, err
}

// Keeps implements broker.Keeper.
func (p hsmPlugin) Keeps(ctx context.Context, r broker.Resource) (bool, error) {
	keys, err := p.client.List(ctx, string(r))
	if err != nil {
		return false, hsmError(err)
	}
	return len(keys) > 0, nil
}

// A spiffePlugin certifies machines.
type spiffePlugin struct{ authorities *ca.Folder }

func (spiffePlugin) Name() string { return "spiffe" }

func (spiffePlugin) Access(method string, path []string) broker.Access {
	switch {
	case method == http.MethodPost && len(path) == 4 && path[0] == "svid":
		return broker.Machines
	case method == http.MethodGet && len(path) == 1 && (path[0] == "bundle" || path[0] == "bundle.pem"):
		return broker.Anybody
	}
	return broker.Nobody
}

func (p spiffePlugin) Serve(ctx context.Context, c broker.Call) (answer broker.Answer, err error) {
	switch c.Path[0] {
	case "bundle":
		answer.Type = "application/json"
		answer.Body, err = p.authorities.Bundle(ctx)
	case "bundle.pem":
		answer.Type = "application/x-pem-file"
		answer.Body, err = p.authorities.PEM(ctx)
	default:
		answer.Body, err = p.certify(ctx, strings.Join(c.Path[1:], "/"), c)
	}
	switch {
	case errors.Is(err, ca.ErrNone):
		err = broker.PluginError(http.StatusNotFound, err)
	case errors.Is(err, ca.ErrRequest):
		err = broker.PluginError(http.StatusBadRequest, err)
	}
	return answer, err
}

// certify certifies the key of a request, or, when none is sent, the
// ephemeral key that the evidence was bound to.
func (p spiffePlugin) certify(ctx context.Context, path string, c broker.Call) ([]byte, error) {
	domain, err := p.authorities.Domain(ctx)
	if err != nil {
		return nil, err
	}
	key := crypto.PublicKey(c.Key)
	if len(c.Body) > 0 {
		if key, err = ca.ParseRequest(c.Body, "spiffe://"+domain+"/"+path); err != nil {
			return nil, err
		}
	}
	issued, err := p.authorities.Issue(ctx, path, key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(issued)
}
