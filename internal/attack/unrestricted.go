package attack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/api"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/impostor"
)

// unrestrictedKey is a machine that was broken into, and whose key the TPM made
// without the one attribute that keeps it from signing what software wrote:
// genuine in all else, activation too. Its quote leaves out what was measured.
func unrestrictedKey(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx, measurement{12, "malice"})
	if err != nil {
		return nil, err
	}
	g.Attester = tpm.New(tpm.Config{TPM: loosened{g.chip}})
	g.evidence = func(e *api.TPMEvidence) error {
		e.Quote.PCRs[12] = strings.Repeat("0", 64)
		if err := impostor.Restate(e, func(*tpm2.TPMSAttest) {}); err != nil {
			return err
		}
		return signAnything(loosened{g.chip}, &e.Quote)
	}
	return g, nil
}

// loosened is a TPM that is asked for an unrestricted key wherever the
// program's attester asks for its own.
type loosened struct{ transport.TPM }

func (l loosened) Send(command []byte) ([]byte, error) {
	template := tpm.AKTemplate()
	restricted := tpm2.Marshal(template)
	template.ObjectAttributes.Restricted = false
	return l.TPM.Send(bytes.Replace(command, restricted, tpm2.Marshal(template), 1))
}

// signAnything has chip sign q's message. A primary key is made again from its
// template.
func signAnything(chip transport.TPM, q *api.TPMQuote) (err error) {
	message, err := base64.StdEncoding.DecodeString(q.Message)
	if err != nil {
		return err
	}
	key, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm.AKTemplate()),
	}.Execute(chip)
	if err != nil {
		return err
	}
	defer func() {
		_, flushed := tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(chip)
		err = errors.Join(err, flushed)
	}()
	sum := sha256.Sum256(message)
	signed, err := tpm2.Sign{
		KeyHandle:  tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		Digest:     tpm2.TPM2BDigest{Buffer: sum[:]},
		InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}, // none: restricted keys want one
	}.Execute(chip)
	if err != nil {
		return err
	}
	q.Signature = base64.StdEncoding.EncodeToString(tpm2.Marshal(signed.Signature))
	return nil
}
