package machine

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/guest"
	"holdfast/internal/oci"
)

func TestOnlyTheEndpointsOwnCAVouches(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	c, err := Pinned(api.Endpoint{URL: s.URL, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	for _, e := range []api.Endpoint{{URL: s.URL}, {URL: s.URL, CA: "no PEM"}, {URL: "http://r:5000", CA: ca}, {CA: ca}} {
		if _, err := Pinned(e); err == nil {
			t.Errorf("%.40q with CA %.10q was accepted", e.URL, e.CA)
		}
	}
}

func TestWhatTheBrokerRefusedNamesTheConfiguration(t *testing.T) {
	document := []byte("document")
	problem := &guest.Refusal{Stage: "attest", Err: fmt.Errorf("attest: %w", &kbc.Problem{Status: 401})}
	for _, c := range []struct {
		err  error
		want string
	}{
		{problem, string(oci.SHA256(document))},
		{&guest.Refusal{Stage: "pull", Err: errors.New("altered")}, ""},
	} {
		var r interface{ Refused() api.RefusedDetail }
		if err := refusal(c.err, document); !errors.As(err, &r) || r.Refused().InitDataDigest != c.want {
			t.Errorf("%v: got %+v, want digest %q", c.err, r.Refused(), c.want)
		}
	}
	if refusal(nil, document) != nil {
		t.Error("no error became one")
	}
}
