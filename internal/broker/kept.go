package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/plainjson"
)

// A keptAttestation is what a session proved, as it waits in the state to
// become part of proofs: the machine's message is the very bytes that were
// judged, and nothing is encoded twice. The policy stands by its digest: it is
// longer than all the rest.
type keptAttestation struct {
	head        keptHead
	message     []byte // the body of the machine's request
	offer       api.ActivationOffer
	input, data []byte // of the policy's decision
	token       jws
	certificate []byte
	chain       [][]byte
	references  [][]byte
}

type keptHead struct {
	Time          time.Time       `json:"time"`
	Session       string          `json:"session"`
	TEE           string          `json:"tee"`
	Allow         bool            `json:"allow"`
	Trust         map[string]int8 `json:"trust_claims,omitempty"`
	Extensions    map[string]any  `json:"extensions,omitempty"`
	PolicyVersion int64           `json:"policy_version"`
	PolicyDigest  string          `json:"policy_digest"`
	Chain         int             `json:"chain"` // certificates; the parts after these are references
	// Devices are rare, and stand here with their policies.
	Devices []api.ProofDevice `json:"devices,omitempty"`
}

// keptForm begins a record, which is parts after each other from there on.
const keptForm = 3

// keptParts are those before the chain.
const keptParts = 11

var errKept = errors.New("it was kept by another version of this program: attest again")

func (k *keptAttestation) write(room []byte) ([]byte, error) {
	k.head.Chain = len(k.chain)
	head, err := k.head.write()
	parts := [][]byte{head, k.message, k.offer.EKCertificate, k.offer.EKPublic, k.offer.AKPublic, k.input, k.data, []byte(k.token.header), k.token.payload, k.token.signature[:], k.certificate}
	return appendParts(append(room, keptForm), append(append(parts, k.chain...), k.references...)...), err
}

// write is encoding/json's text.
func (h *keptHead) write() ([]byte, error) {
	o := plainjson.Begin(make([]byte, 0, 512))
	o.Add("time", h.Time)
	o.Add("session", h.Session)
	o.Add("tee", h.TEE)
	o.Add("allow", h.Allow)
	if len(h.Trust) > 0 {
		o.Add("trust_claims", h.Trust)
	}
	if len(h.Extensions) > 0 {
		o.Add("extensions", h.Extensions)
	}
	o.Add("policy_version", h.PolicyVersion)
	o.Add("policy_digest", h.PolicyDigest)
	o.Add("chain", h.Chain)
	if len(h.Devices) > 0 {
		o.Add("devices", h.Devices)
	}
	return o.End()
}

func readKept(raw []byte) (*keptAttestation, error) {
	if len(raw) == 0 || raw[0] != keptForm {
		return nil, errKept
	}
	p, err := readParts(raw[1:])
	if err != nil || len(p) < keptParts || len(p[9]) != len(jws{}.signature) {
		return nil, errKept
	}
	k := &keptAttestation{message: p[1], offer: api.ActivationOffer{EKCertificate: p[2], EKPublic: p[3], AKPublic: p[4]},
		input: p[5], data: p[6], token: jws{string(p[7]), p[8], [64]byte(p[9])}, certificate: p[10]}
	if err := json.Unmarshal(p[0], &k.head); err != nil {
		return nil, errKept
	}
	p = p[keptParts:]
	if k.head.Chain < 0 || k.head.Chain > len(p) {
		return nil, errKept
	}
	k.chain, k.references = p[:k.head.Chain], p[k.head.Chain:]
	return k, nil
}

// attestation is k as proofs have it.
func (k *keptAttestation) attestation(policy string) (*api.ProofAttestation, error) {
	a := &api.ProofAttestation{
		Time: k.head.Time, Session: k.head.Session, TEE: k.head.TEE, Offer: k.offer, EndorsementChain: k.chain, References: k.references,
		Policy:  api.ProofDecision{Policy: policy, Input: k.input, Data: k.data, Allow: k.head.Allow, Trust: k.head.Trust, Extensions: k.head.Extensions},
		Devices: k.head.Devices, Token: k.token.String(), TokenCertificate: k.certificate,
	}
	return a, exactly(k.message, &a.Message)
}

// appendParts writes parts that readParts reads, each behind its length.
func appendParts(out []byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p) + binary.MaxVarintLen32
	}
	out = slices.Grow(out, size)
	for _, p := range parts {
		out = append(binary.AppendUvarint(out, uint64(len(p))), p...)
	}
	return out
}

func readParts(raw []byte) (parts [][]byte, err error) {
	for len(raw) > 0 {
		size, n := binary.Uvarint(raw)
		if n <= 0 || size > uint64(len(raw)-n) {
			return nil, errKept
		}
		end := n + int(size)
		parts, raw = append(parts, raw[n:end:end]), raw[end:]
	}
	return parts, nil
}
