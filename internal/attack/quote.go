package attack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
)

// replaying answers this handshake's challenge but shows the quote of one
// before it, made when the machine was still good.
func replaying(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	old, err := s.genuine(ctx, g.Attester, bytes.Repeat([]byte{7}, 48))
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	parsed, err := verify.Parse(old)
	if err == nil {
		err = g.measure(measurement{12, "malice"})
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	g.evidence = func(e *api.TPMEvidence) error { e.Quote = parsed.Quote; return nil }
	return g, nil
}

func anotherNonce(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	g.wire = attestation(func(a *api.KBSAttestation) error {
		a.RuntimeData.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 32))
		return nil
	})
	return g, nil
}

func anotherEphemeralKey(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	g.wire = attestation(func(a *api.KBSAttestation) error {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		a.RuntimeData.TEEPubKey, err = jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ECDH_ES_A256KW)}.MarshalJSON()
		return err
	})
	return g, nil
}

// answeredTwice passes the machine's evidence on, and then answers the machine
// with what the broker says to the second time.
func answeredTwice(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	g.wire = func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/attest") {
			return next.RoundTrip(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		first, err := next.RoundTrip(withBody(r, body))
		if err != nil {
			return nil, err
		}
		if err := first.Body.Close(); err != nil {
			return nil, err
		}
		if first.StatusCode != http.StatusOK {
			return nil, errors.New("the first time was refused already")
		}
		return next.RoundTrip(withBody(r, body))
	}
	return g, nil
}

func extendedAgain(pcr int) lie {
	return func(ctx context.Context, s *site) (*suspect, error) {
		return s.honest(ctx, measurement{pcr, "something else"})
	}
}

func alteredPCR(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx, measurement{12, "malice"})
	if err != nil {
		return nil, err
	}
	g.evidence = func(e *api.TPMEvidence) error { e.Quote.PCRs[12] = strings.Repeat("0", 64); return nil }
	return g, nil
}

// otherSelection has the machine's own key quote fewer PCRs. A primary key is
// made again from its template.
func otherSelection(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx, measurement{12, "malice"})
	if err != nil {
		return nil, err
	}
	g.evidence = func(e *api.TPMEvidence) error {
		raw, err := base64.StdEncoding.DecodeString(e.Quote.Message)
		if err != nil {
			return err
		}
		quoted, err := tpm2.Unmarshal[tpm2.TPMSAttest](raw)
		if err != nil {
			return err
		}
		return g.quoteWithout12And13(&e.Quote, quoted.ExtraData)
	}
	return g, nil
}

func (g *suspect) quoteWithout12And13(into *api.TPMQuote, nonce tpm2.TPM2BData) error {
	key, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm.AKTemplate()),
	}.Execute(g.chip)
	if err != nil {
		return err
	}
	quote, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: nonce,
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 0xff &^ (1<<(12-8) | 1<<(13-8)), 0xff}}}},
	}.Execute(g.chip)
	if err != nil {
		return err
	}
	into.Message = base64.StdEncoding.EncodeToString(quote.Quoted.Bytes())
	into.Signature = base64.StdEncoding.EncodeToString(tpm2.Marshal(quote.Signature))
	into.PCRs[12] = strings.Repeat("0", 64)
	return nil
}

func alteredLog(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	g.evidence = func(e *api.TPMEvidence) error {
		// The digest stands before the length of the event's text and the text.
		before := len(e.EventLog) - len(tpm.InitDataEvent) - 4
		e.EventLog[before-1] ^= 1
		return nil
	}
	return g, nil
}

// altered is evidence after a change.
func altered(raw json.RawMessage, change func(*api.TPMEvidence) error) (json.RawMessage, error) {
	e, err := verify.Parse(raw)
	if err != nil {
		return nil, err
	}
	if err := change(e); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}
