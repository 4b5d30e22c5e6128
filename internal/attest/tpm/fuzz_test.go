package tpm

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
)

// A hostile TPM is one that its host made up: it answers each command with the
// next of its answers, and then with nothing.
type hostile struct{ answers []byte }

func (h *hostile) Send([]byte) ([]byte, error) {
	if len(h.answers) < 2 {
		return nil, errors.New("nothing more to say")
	}
	n := min(int(binary.BigEndian.Uint16(h.answers)), len(h.answers)-2)
	answer := h.answers[2:][:n]
	h.answers = h.answers[2+n:]
	return answer, nil
}

// Whatever a TPM answers, an attester offers whole keys or says why not. The
// committed input is what swtpm answered once.
//
//fuzz:parser keys.go evidence.go:Offer,spki,activate quote.go bank.go
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x00\x0a\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x00"))
	f.Add([]byte("\x00\x0c\x80\x01\x00\x00\x00\x0c\x00\x00\x00\x00\xff\xff"))
	f.Fuzz(func(t *testing.T, answers []byte) {
		h := &hostile{answers}
		a := New(Config{TPM: h})
		offer, err := a.Offer(t.Context())
		if err != nil {
			return
		}
		if len(offer.EKCertificate) == 0 || len(offer.AKPublic) == 0 {
			t.Errorf("offers %+v", offer)
		}
		if _, err := tpm2.Unmarshal[tpm2.TPMTPublic](offer.AKPublic); err != nil {
			t.Errorf("offers an attestation key that cannot be read: %v", err)
		}
		if q, err := quote(t.Context(), h, a.keys.ak, []Bank{SHA256}, make([]byte, 32)); err == nil && len(q.PCRs) != PCRs {
			t.Errorf("%d PCRs", len(q.PCRs))
		}
		_, _ = a.Evidence(t.Context(), make([]byte, 48), &api.ActivationChallenge{}) // what a TPM makes up, the verifier judges
	})
}
