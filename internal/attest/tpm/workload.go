package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"holdfast/internal/api"
)

// workloadDomain begins what WorkloadNonce hashes. A handshake's nonce is a
// SHA-384 over a JSON object, so no data makes one of the other.
const workloadDomain = "holdfast workload evidence 1\x00"

// WorkloadNonce is what a quote for a workload is over: SHA-256 of the domain
// and of the data that the workload chose.
func WorkloadNonce(data []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(workloadDomain), data...))
}

// WorkloadEvidence is a quote over data of a workload's choice, with the PCRs
// and the log. It answers no challenge, and no data makes it the evidence of a
// handshake: a workload cannot have the machine vouch for a key of its own.
func (a *Attester) WorkloadEvidence(ctx context.Context, data []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	nonce := WorkloadNonce(data)
	quote, err := quote(ctx, a.tpm, a.keys.ak, a.banks, nonce[:])
	if err != nil {
		return nil, err
	}
	public, err := spki(a.keys.ak.public)
	if err != nil {
		return nil, err
	}
	return json.Marshal(api.TPMEvidence{AKPublic: public, Quote: *quote, EventLog: a.log})
}
