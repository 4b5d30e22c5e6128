package gateway

import (
	"context"
	"errors"
	"net/http"

	boxo "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// nameless is a system without names. The library's own would ask a name
// server.
type nameless struct{}

var errNameless = errors.New("names are not resolved here")

func (nameless) Resolve(context.Context, path.Path, ...namesys.ResolveOption) (namesys.Result, error) {
	return namesys.Result{}, boxo.NewErrorStatusCode(errNameless, http.StatusNotImplemented)
}

func (n nameless) ResolveAsync(ctx context.Context, p path.Path, _ ...namesys.ResolveOption) <-chan namesys.AsyncResult {
	results := make(chan namesys.AsyncResult, 1)
	_, err := n.Resolve(ctx, p)
	results <- namesys.AsyncResult{Err: err}
	close(results)
	return results
}

func (nameless) Publish(context.Context, crypto.PrivKey, path.Path, ...namesys.PublishOption) error {
	return errNameless
}
