package admin

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"holdfast/internal/api"
)

// Rebuilders lists whose statements about rebuilt images count.
func (c *Client) Rebuilders(ctx context.Context) (list []api.RebuilderKey, err error) {
	return list, c.do(ctx, http.MethodGet, api.RebuildersPath, nil, &list)
}

// AddRebuilder gives a public key, in PEM, a name.
func (c *Client) AddRebuilder(ctx context.Context, name string, pem []byte) error {
	return c.do(ctx, http.MethodPost, api.RebuildersPath, api.RebuilderKey{Name: name, PEM: string(pem)}, nil)
}

// RemoveRebuilder ends that the key's statements count, at once.
func (c *Client) RemoveRebuilder(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, api.RebuildersPath+"/"+url.PathEscape(name), nil, nil)
}

// Rebuilds lists the statements that the broker holds.
func (c *Client) Rebuilds(ctx context.Context) (list []api.LoadedRebuild, err error) {
	return list, c.do(ctx, http.MethodGet, api.RebuildsPath, nil, &list)
}

// LoadRebuild gives the broker a signed statement.
func (c *Client) LoadRebuild(ctx context.Context, envelope []byte) error {
	return c.do(ctx, http.MethodPost, api.RebuildsPath, bytes.NewReader(envelope), nil)
}

// ForgetRebuild takes a statement away, by its ID sha256:….
func (c *Client) ForgetRebuild(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, api.RebuildsPath+"/"+url.PathEscape(id), nil, nil)
}

// Requirements are what images have to fulfil.
func (c *Client) Requirements(ctx context.Context) (r api.Requirements, err error) {
	return r, c.do(ctx, http.MethodGet, api.RequirementsPath, nil, &r)
}

// Require replaces what images have to fulfil.
func (c *Client) Require(ctx context.Context, r api.Requirements) error {
	return c.do(ctx, http.MethodPost, api.RequirementsPath, r, nil)
}

// Contents lists what images are made of, as far as the broker was told.
func (c *Client) Contents(ctx context.Context) (list []api.ImageContents, err error) {
	return list, c.do(ctx, http.MethodGet, api.ContentsPath, nil, &list)
}

// LoadContents tells what an image is made of.
func (c *Client) LoadContents(ctx context.Context, m api.ContentsMessage) error {
	return c.do(ctx, http.MethodPost, api.ContentsPath, m, nil)
}
