package machine

import (
	"context"
	"net/http"
	"runtime/debug"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/guest/hub"
)

// An attester makes evidence for workloads beside that for brokers.
type attester interface {
	kbc.Attester
	WorkloadEvidence(ctx context.Context, data []byte) ([]byte, error)
}

// newHub is what the configuration's API is answered by; nil when it has none.
//
// Its clients have keys of their own. What was released to the machine before
// its workload ran, image keys for one, is wrapped to a key that is gone by
// then; and a workload that carries its token away takes no other client's key
// along.
func newHub(a attester, c api.GuestConfig, document []byte) (h http.Handler, end func(), err error) {
	if len(c.API) == 0 {
		return nil, func() {}, nil
	}
	config := hub.Config{Version: version()}
	var clients []*kbc.Client
	end = func() {
		for _, client := range clients {
			client.Close()
		}
	}
	for _, feature := range c.API {
		client, err := newBroker(a, c.Broker, document, silence)
		if err != nil {
			end()
			return nil, nil, err
		}
		clients = append(clients, client)
		switch feature {
		case api.APIResource:
			config.Resource = client.Resource
		case api.APIAttestation:
			config.Attestation = attestation{client, a}
		}
	}
	return hub.New(config), end, nil
}

// attestation is a hub's, by a client that is for nothing else.
type attestation struct {
	client   *kbc.Client
	attester attester
}

func (a attestation) TEE() string { return a.attester.TEE() }

func (a attestation) Token(ctx context.Context) (string, []byte, error) { return a.client.Token(ctx) }

func (a attestation) Evidence(ctx context.Context, data []byte) ([]byte, error) {
	return a.attester.WorkloadEvidence(ctx, data)
}

// version is what the program was built from, as far as it knows.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return "holdfast " + info.Main.Version
	}
	return "holdfast"
}
