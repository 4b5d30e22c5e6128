package broker

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/api"
)

// Whatever an administrator says of rebuilders, the rules can be read after it,
// and a requirement that holds is one that somebody can fulfil.
//
//fuzz:parser rebuilt_admin.go:addRebuilder,checkNew,loadRebuild,setRequirements,checkRequired rebuilt.go:readRebuilders,readRebuilds,readRequirements contents.go:loadContents
func FuzzRebuilders(f *testing.F) {
	b := fuzzBroker(f)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: fuzzAdmin}, nil)
	check(f, err)
	token, err := jwt.Signed(signer).Claims(map[string]any{"role": "admin", "exp": fuzzNow.Add(time.Hour).Unix()}).Serialize()
	check(f, err)
	key, err := json.Marshal(api.RebuilderKey{Name: "anna", PEM: string(publicPEM(f, fuzzAdmin))})
	check(f, err)
	f.Add(uint8(0), "rebuilders", key)
	f.Add(uint8(0), "rebuilds", aRebuild(f, fuzzAdmin, nil))
	f.Add(uint8(0), "requirements", []byte(`{"rebuilders":{"of":["anna"],"at_least":1}}`))
	f.Add(uint8(0), "requirements", []byte(`{"rebuilders":null}`))
	f.Add(uint8(0), "contents", []byte(`{"provenance":{},"sbom":""}`))
	f.Add(uint8(2), "rebuilders/anna", []byte(nil))
	f.Fuzz(func(t *testing.T, method uint8, path string, body []byte) {
		r := ask(method, "/holdfast/"+path, body, token)
		if r == nil {
			return
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		checkAnswer(t, w)
		rules, err := b.rules(t.Context())
		if err != nil {
			t.Fatalf("after %s %s: %v", r.Method, r.URL, err)
		}
		n := rules.rebuilds.required.Rebuilders
		if set := r.URL.Path == api.RequirementsPath && r.Method == http.MethodPost && w.Code == http.StatusOK; set && n != nil && (n.AtLeast < 1 || n.AtLeast > len(n.Of)) {
			t.Errorf("%d of %q are required", n.AtLeast, n.Of)
		}
	})
}
