package tpm

import (
	"bytes"
	"context"
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

// quote signs all PCRs of the banks with nonce, and reads the values that were
// signed.
func quote(ctx context.Context, t transport.TPM, ak key, banks []Bank, nonce []byte) (*api.TPMQuote, error) {
	for range quoteTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		q, err := quoteOnce(t, ak, banks, nonce)
		if !errors.Is(err, errMoved) {
			return q, err
		}
	}
	return nil, errMoved
}

func quoteOnce(t transport.TPM, ak key, banks []Bank, nonce []byte) (*api.TPMQuote, error) {
	rsp, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: ak.Handle, Name: ak.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce},
		PCRSelect:      AllPCRs(banks...),
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	q := &api.TPMQuote{
		Signature: base64.StdEncoding.EncodeToString(tpm2.Marshal(rsp.Signature)),
		Message:   base64.StdEncoding.EncodeToString(rsp.Quoted.Bytes()),
	}
	var values [][]byte
	for _, b := range banks {
		v, err := readPCRs(t, b)
		if err != nil {
			return nil, err
		}
		values = append(values, v...)
		show(q, b, v)
	}
	return q, isQuoted(bytes.Join(values, nil), rsp)
}

// isQuoted checks that values were quoted. A TPM digests them as it digests
// what it signs (TPM 2.0 Part 3, 18.4).
func isQuoted(values []byte, rsp *tpm2.QuoteResponse) error {
	attest, err := rsp.Quoted.Contents()
	if err != nil {
		return err
	}
	info, err := attest.Attested.Quote()
	if err != nil {
		return err
	}
	hash, err := SignatureHash(&rsp.Signature)
	if err != nil {
		return err
	}
	h := hash.New()
	h.Write(values)
	if !bytes.Equal(h.Sum(nil), info.PCRDigest.Buffer) {
		return errMoved
	}
	return nil
}

// show puts values where their bank's belong.
func show(q *api.TPMQuote, b Bank, values [][]byte) {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = hex.EncodeToString(v)
	}
	if b == SHA256 {
		q.PCRs = text
		return
	}
	if q.Banks == nil {
		q.Banks = map[string][]string{}
	}
	q.Banks[string(b)] = text
}

// AllPCRs selects what evidence has to show of its banks.
func AllPCRs(banks ...Bank) tpm2.TPMLPCRSelection { return selection(banks, 0xff, 0xff, 0xff) }

func selection(banks []Bank, mask ...byte) tpm2.TPMLPCRSelection {
	var s tpm2.TPMLPCRSelection
	for _, b := range banks {
		s.PCRSelections = append(s.PCRSelections, tpm2.TPMSPCRSelection{Hash: b.ID(), PCRSelect: mask})
	}
	return s
}

// readPCRs reads eight at a time: a TPML_DIGEST has room for no more.
func readPCRs(t transport.TPM, b Bank) ([][]byte, error) {
	var values [][]byte
	for i := range PCRs / 8 {
		mask := make([]byte, PCRs/8)
		mask[i] = 0xff
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selection([]Bank{b}, mask...)}.Execute(t)
		if err != nil {
			return nil, err
		}
		if n := len(rsp.PCRValues.Digests); n != 8 {
			return nil, fmt.Errorf("TPM shows %d of PCRs %d to %d: it has no %s bank", n, 8*i, 8*i+7, b)
		}
		for _, d := range rsp.PCRValues.Digests {
			values = append(values, d.Buffer)
		}
	}
	return values, nil
}
