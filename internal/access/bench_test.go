package access

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkBearer is what authentication adds to a request: a token that was
// seen before, and the rules for one repository.
func BenchmarkBearer(b *testing.B) {
	s := newStage(b, rulesText)
	token := s.token("alice", "repository:secret/app:pull")
	h := s.guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		if !CallerOf(q.Context()).May(Pull, "secret/app") {
			b.Error("alice may not")
		}
	}))
	q := httptest.NewRequest(http.MethodGet, "/v2/secret/app/manifests/x", nil)
	q.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	for b.Loop() {
		h.ServeHTTP(w, q)
	}
}
