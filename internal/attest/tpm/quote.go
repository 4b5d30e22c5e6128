package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/api"
)

// quoteTries bounds how often PCRs may change between reading and quoting.
const quoteTries = 5

var errMoved = errors.New("PCRs changed while they were quoted")

// quote signs all PCRs with nonce, and reads the values that were signed.
func quote(ctx context.Context, t transport.TPM, ak key, nonce []byte) (*api.TPMQuote, error) {
	for range quoteTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		q, err := quoteOnce(t, ak, nonce)
		if !errors.Is(err, errMoved) {
			return q, err
		}
	}
	return nil, errMoved
}

func quoteOnce(t transport.TPM, ak key, nonce []byte) (*api.TPMQuote, error) {
	rsp, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: ak.Handle, Name: ak.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce},
		PCRSelect:      AllPCRs(),
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	values, err := readPCRs(t)
	if err != nil {
		return nil, err
	}
	attest, err := rsp.Quoted.Contents()
	if err != nil {
		return nil, err
	}
	info, err := attest.Attested.Quote()
	if err != nil {
		return nil, err
	}
	if digest := sha256.Sum256(bytes.Join(values, nil)); !bytes.Equal(digest[:], info.PCRDigest.Buffer) {
		return nil, errMoved
	}
	q := &api.TPMQuote{
		Signature: base64.StdEncoding.EncodeToString(tpm2.Marshal(rsp.Signature)),
		Message:   base64.StdEncoding.EncodeToString(rsp.Quoted.Bytes()),
	}
	for _, v := range values {
		q.PCRs = append(q.PCRs, hex.EncodeToString(v))
	}
	return q, nil
}

// AllPCRs selects what evidence has to show.
func AllPCRs() tpm2.TPMLPCRSelection { return selection(0xff, 0xff, 0xff) }

func selection(mask ...byte) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: mask}}}
}

// readPCRs reads eight at a time: a TPML_DIGEST has room for no more.
func readPCRs(t transport.TPM) ([][]byte, error) {
	var values [][]byte
	for i := range PCRs / 8 {
		mask := make([]byte, PCRs/8)
		mask[i] = 0xff
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selection(mask...)}.Execute(t)
		if err != nil {
			return nil, err
		}
		if n := len(rsp.PCRValues.Digests); n != 8 {
			return nil, fmt.Errorf("TPM shows %d of PCRs %d to %d: it has no SHA-256 bank", n, 8*i, 8*i+7)
		}
		for _, d := range rsp.PCRValues.Digests {
			values = append(values, d.Buffer)
		}
	}
	return values, nil
}
