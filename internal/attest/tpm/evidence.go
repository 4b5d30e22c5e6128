package tpm

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/api"
)

// Offer names the TPM and the key that will sign, for the verifier to make a
// challenge of.
func (a *Attester) Offer(ctx context.Context) (*api.ActivationOffer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	return &api.ActivationOffer{
		EKCertificate: a.keys.certificate,
		EKPublic:      tpm2.Marshal(a.keys.ek.public),
		AKPublic:      tpm2.Marshal(a.keys.ak.public),
	}, nil
}

// Evidence answers the challenge with a quote whose nonce is the first 32 bytes
// of runtimeDigest.
func (a *Attester) Evidence(ctx context.Context, runtimeDigest []byte, challenge *api.ActivationChallenge) (json.RawMessage, error) {
	if challenge == nil {
		return nil, errors.New("the verifier sent no activation challenge")
	}
	if len(runtimeDigest) < sha256.Size {
		return nil, fmt.Errorf("runtime digest has %d bytes, expected at least %d", len(runtimeDigest), sha256.Size)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	secret, err := a.keys.activate(a.tpm, challenge)
	if err != nil {
		return nil, fmt.Errorf("activate credential: %w", err)
	}
	defer clear(secret)
	quote, err := quote(ctx, a.tpm, a.keys.ak, a.banks, runtimeDigest[:sha256.Size])
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	public, err := spki(a.keys.ak.public)
	if err != nil {
		return nil, err
	}
	return json.Marshal(api.TPMEvidence{
		AKPublic:       public,
		Quote:          *quote,
		ActivationHMAC: ActivationMAC(secret, runtimeDigest),
		EventLog:       a.log,
	})
}

// ActivationMAC proves knowledge of the activated secret for one handshake.
func ActivationMAC(secret, runtimeDigest []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(runtimeDigest)
	return mac.Sum(nil)
}

func spki(public *tpm2.TPMTPublic) (string, error) {
	pub, err := tpm2.Pub(*public)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	return base64.StdEncoding.EncodeToString(der), err
}

// activate recovers the secret that only a TPM with both keys can.
func (k *keys) activate(t transport.TPM, c *api.ActivationChallenge) ([]byte, error) {
	auth := tpm2.PasswordAuth(nil)
	if k.endorsement.WithPolicy {
		auth = endorsementPolicy()
	}
	command := tpm2.ActivateCredential{
		ActivateHandle: tpm2.AuthHandle{Handle: k.ak.Handle, Name: k.ak.Name, Auth: tpm2.PasswordAuth(nil)},
		KeyHandle:      tpm2.AuthHandle{Handle: k.ek.Handle, Name: k.ek.Name, Auth: auth},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.CredentialBlob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: c.EncryptedSecret},
	}
	rsp, err := command.Execute(t)
	if errors.Is(err, tpm2.TPMRCRetry) { // it notes in NV that a guarded key is in use: Part 1, 19.8.3
		rsp, err = command.Execute(t)
	}
	if err != nil {
		return nil, err
	}
	return rsp.CertInfo.Buffer, nil
}

// endorsementPolicy is PolicySecret(endorsement): EK Credential Profile 2.5,
// B.3.3.
func endorsementPolicy() tpm2.Session {
	return tpm2.Policy(tpm2.TPMAlgSHA256, 16, func(t transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
			PolicySession: session,
			NonceTPM:      nonce,
		}.Execute(t)
		return err
	})
}
