package attack

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/wiring"
	"holdfast/internal/wiring/machine"
)

// What the release of secrets promises.
const (
	listed   = "a machine is given what its configuration lists, and nothing else"
	ownToken = "only a token of this broker, that is still good, stands for a proof"
	ownEyes  = "what is released can be read by the machine that proved itself alone"
	admins   = "only an administrator changes what a broker trusts and holds"
)

func secretAttacks() []Attack {
	return in("secret",
		asking("resource-not-listed", listed, "a machine that proved itself asks for another workload's key",
			"may not have resource "+otherKey, func(ctx context.Context, s *site, token string) ([]byte, error) {
				return s.get(ctx, otherKey, token)
			}),
		pathTricks(),
		asking("no-token", ownToken, "somebody who proved nothing asks for a key",
			"Attestation Token not found", func(ctx context.Context, s *site, _ string) ([]byte, error) {
				return s.get(ctx, ownKey, "")
			}),
		asking("token-altered", ownToken, "a machine writes another configuration into its token",
			"it was not signed by this broker", func(ctx context.Context, s *site, token string) ([]byte, error) {
				altered, err := s.reworded(ctx, token)
				if err != nil {
					return nil, err
				}
				return s.get(ctx, otherKey, altered)
			}),
		asking("token-unsigned", ownToken, "a token says that it needs no signature (alg none)",
			"it is no token signed by a public key", func(ctx context.Context, s *site, token string) ([]byte, error) {
				header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
				return s.get(ctx, ownKey, header+"."+strings.Split(token, ".")[1]+".")
			}),
		asking("token-key-confusion", ownToken, "a token is signed by HMAC with the broker's public key for the secret",
			"it is no token signed by a public key", confusedToken),
		asking("token-of-another-broker", ownToken, "another broker signs the token, and brings its key along",
			"it was not signed by this broker", foreignToken),
		asking("token-expired", ownToken, "the broker's own token is used when its time is over",
			"it expired at", expiredToken),
		stolenToken(),
		administering("administrator-forged", "somebody without the administrator's key has a configuration authorised"),
		administratorAgain(),
	)
}

// asking is an attack with the token that an honest machine was given.
func asking(name, promise, change, reason string, ask func(ctx context.Context, s *site, token string) ([]byte, error)) Attack {
	return Attack{Name: name, Promise: promise, Change: change, Want: Refusal{Broker, reason}, Control: bearing,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			token, err := s.token(ctx)
			if err != nil {
				return Refusal{}, err
			}
			return s.decided(ctx, getting, func() ([]byte, error) { return ask(ctx, s, token) })
		}}
}

// bearing shows that a token alone is as good as the session it came from.
var bearing = Control{Name: "the token of an honest machine opens its key", Run: func(ctx context.Context, l *Lab) error {
	if err := honestMachine(ctx, l); err != nil {
		return err
	}
	s, err := l.site(ctx)
	if err != nil {
		return err
	}
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	_, err = s.get(ctx, ownKey, token)
	return err
}}

// get asks the broker for a path below /resource/, with a bearer token. What
// it refuses is a *kbc.Problem.
func (s *site) get(ctx context.Context, path, token string) ([]byte, error) {
	broker := s.endpoint(s.services.BrokerURL())
	client, err := machine.Pinned(broker)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, broker.URL+api.KBSPrefix+"/resource/"+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil || a.StatusCode == http.StatusOK {
		return body, err
	}
	problem := &kbc.Problem{Status: a.StatusCode}
	if json.Unmarshal(body, &problem.ErrorInformation) != nil {
		problem.ErrorInformation = api.ErrorInformation{Detail: a.Status}
	}
	return nil, problem
}

// pathTricks spells the path of another workload's key in ways that may pass
// for the machine's own.
func pathTricks() Attack {
	spellings := []string{
		"default/key/own/../other", "default/key/..%2Fkey%2Fother", "default/key%2Fother/x", "default/key/%2e%2e/key/other",
		"default//key/other", "default/key/other%00own", "default/key/other?path=default/key/own", "default/key/.other", "./default/key/other",
		"..%2f..%2fresources%2fdefault/key/other",
	}
	a := asking("resource-path-tricks", listed, fmt.Sprintf("the path of another workload's key is spelt in %d ways that may pass for its own", len(spellings)),
		fmt.Sprintf("each of %d spellings", len(spellings)), nil)
	a.Run = func(ctx context.Context, l *Lab) (Refusal, error) {
		s, err := l.site(ctx)
		if err != nil {
			return Refusal{}, err
		}
		token, err := s.token(ctx)
		if err != nil {
			return Refusal{}, err
		}
		var last Refusal
		for _, path := range spellings {
			last, err = s.decided(ctx, getting, func() ([]byte, error) { return s.get(ctx, path, token) })
			if err != nil || last.By == Nobody {
				return last, err
			}
		}
		return Refusal{Broker, fmt.Sprintf("each of %d spellings is refused, the last as %s", len(spellings), last.Reason)}, nil
	}
	return a
}

func administering(name, change string) Attack {
	return Attack{Name: name, Promise: admins, Change: change, Want: Refusal{Broker, "administrator"}, Control: honest,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			ring, err := s.lab.foreignKeys(ctx)
			if err != nil {
				return Refusal{}, err
			}
			forger := *s.admin
			forger.Key = ring.Pair(keys.Admin).Key
			document, err := wiring.InitData(api.GuestConfig{})
			if err != nil {
				return Refusal{}, err
			}
			return toldAdmin(forger.Allow(ctx, string(oci.SHA256(document)), []string{otherKey}))
		}}
}
