package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"holdfast/internal/api"
)

// History lists the versions of a kind, the latest first, without content.
func (c *Client) History(ctx context.Context, kind string) (list []api.Version, err error) {
	return list, c.do(ctx, http.MethodGet, api.HistoryPath+"/"+url.PathEscape(kind), nil, &list)
}

// Version returns one version, with its content.
func (c *Client) Version(ctx context.Context, kind string, number int64) (v api.Version, err error) {
	return v, c.do(ctx, http.MethodGet, fmt.Sprintf("%s/%s/%d", api.HistoryPath, url.PathEscape(kind), number), nil, &v)
}

// Rollback makes a kind, or one thing of it, as it was after a version, and
// returns the numbers of the versions that this made.
func (c *Client) Rollback(ctx context.Context, ask api.Rollback) (made []int64, err error) {
	return made, c.do(ctx, http.MethodPost, api.RollbackPath, ask, &made)
}
