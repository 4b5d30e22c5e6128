package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
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

// Recorded reads what policies were asked and answered, the oldest first.
func (c *Client) Recorded(ctx context.Context, f api.DecisionFilter) iter.Seq2[api.RecordedDecision, error] {
	return func(yield func(api.RecordedDecision, error) bool) {
		q := url.Values{"kind": {f.Kind}, "session": {f.Session}, "after": {fmt.Sprint(f.After)}}
		resp, err := c.send(ctx, http.MethodGet, api.DecisionsPath+"?"+q.Encode(), nil, nil)
		if err != nil {
			yield(api.RecordedDecision{}, fmt.Errorf("broker %s: %w", c.URL, err))
			return
		}
		defer resp.Body.Close()
		for lines := json.NewDecoder(resp.Body); ; {
			var d api.RecordedDecision
			err := lines.Decode(&d)
			if errors.Is(err, io.EOF) || !yield(d, err) || err != nil {
				return
			}
		}
	}
}
