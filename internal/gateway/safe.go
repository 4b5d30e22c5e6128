package gateway

import (
	"net/http"
	"strings"

	boxo "github.com/ipfs/boxo/gateway"
)

// safe sets the headers that every answer has.
func safe(next http.Handler) http.Handler {
	cors := boxo.NewHeaders(nil).ApplyCors().Wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		cors.ServeHTTP(w, q)
	})
}

// onlyIPFS keeps what is not content from the library, and gives content that
// has no host of its own an origin of its own all the same: pages by path run
// no script, so none can act for another.
func onlyIPFS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !strings.HasPrefix(q.URL.Path, "/ipfs/") {
			http.Error(w, "this gateway serves /ipfs/CID, and resolves no names", http.StatusNotFound)
			return
		}
		if _, own := q.Context().Value(boxo.SubdomainHostnameKey).(string); !own {
			w.Header().Set("Content-Security-Policy", "sandbox allow-downloads")
		}
		next.ServeHTTP(w, q)
	})
}
