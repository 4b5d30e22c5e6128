// Package proof makes and checks the proofs that a broker leaves of what it
// releases.
//
// A proof holds all that a release rested on: evidence, certificates, reference
// values, the policies with what they were given, the token. Whoever has the
// roots can judge it all again, offline and without trusting the broker, but
// for a few things that only the broker can know; Verify names these. It holds
// no secret.
package proof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"crypto/sha256"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/initdata"
	"holdfast/internal/input"
	"holdfast/internal/sign"
)

// MaxSize bounds a proof that is read. What a machine sends is at most 2 MiB,
// and proofs have it in base64.
const MaxSize = 16 << 20

// ErrForm says that a file is no proof.
var ErrForm = errors.New("no proof of a release")

// Seal signs a proof.
func Seal(p api.ReleaseProof, signer sign.Signer) ([]byte, error) {
	a, err := Admit(p.Attestation, p.Passport)
	if err != nil {
		return nil, err
	}
	return a.Seal(p.Release, signer)
}

// Admitted is what all proofs of one session begin with, written once: how the
// machine came in. It is never changed.
type Admitted struct {
	members  []byte // of the proof, JSON, each behind a comma
	subjects []sign.Subject
}

// Admit writes how a machine came in: by its attestation, or by a passport.
func Admit(attestation api.ProofAttestation, passport *api.ProofPassport) (*Admitted, error) {
	subjects, err := subjects(&api.ReleaseProof{Attestation: attestation, Passport: passport})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(struct {
		Attestation api.ProofAttestation `json:"attestation,omitzero"`
		Passport    *api.ProofPassport   `json:"passport,omitempty"`
	}{attestation, passport})
	if err != nil {
		return nil, err
	}
	members := raw[1 : len(raw)-1]
	if len(members) > 0 {
		members = slices.Concat([]byte{','}, members)
	}
	return &Admitted{members, subjects}, nil
}

// Size is what it takes of memory, nearly.
func (a *Admitted) Size() int { return len(a.members) + 1<<10 }

// Seal signs the proof of one release.
func (a *Admitted) Seal(r api.ProofRelease, signer sign.Signer) ([]byte, error) {
	release, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	proof := slices.Concat([]byte(`{"release":`), release, a.members, []byte{'}'})
	envelope, err := sign.SealPredicate(api.ProofType, proof, a.subjects, signer)
	if err != nil {
		return nil, err
	}
	raw, err := envelope.AppendJSON(nil)
	return append(raw, '\n'), err
}

// Split reads the proofs in a file: JSON objects one behind another.
func Split(raw []byte) ([][]byte, error) {
	var all [][]byte
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; {
		var one json.RawMessage
		err := dec.Decode(&one)
		switch {
		case err == io.EOF && len(all) > 0:
			return all, nil
		case err == io.EOF:
			return nil, fmt.Errorf("%w: it is empty", ErrForm)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("%w: it ends in the middle of a JSON document", ErrForm)
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrForm, input.Explain(err))
		case len(one) > MaxSize:
			return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrForm, len(one), MaxSize)
		}
		all = append(all, one)
	}
}

// Peek reads a proof without believing it.
func Peek(raw []byte) (*api.ReleaseProof, error) {
	_, _, p, err := parse(raw)
	return p, err
}

// parse reads a proof in the one spelling that its signer gave it, white space
// aside: what base64 or JSON would let pass unseen is refused.
func parse(raw []byte) (sign.Envelope, sign.Statement, *api.ReleaseProof, error) {
	fail := func(err error) (sign.Envelope, sign.Statement, *api.ReleaseProof, error) {
		return sign.Envelope{}, sign.Statement{}, nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	env, err := sign.ParseEnvelope(raw)
	if err != nil {
		return fail(err)
	}
	st, err := sign.Peek(env)
	if err != nil {
		return fail(err)
	}
	if err := sameSpelling(raw, env); err != nil {
		return fail(err)
	}
	if st.PredicateType != api.ProofType {
		return fail(fmt.Errorf("statement says %.80q: want %s", st.PredicateType, api.ProofType))
	}
	p := &api.ReleaseProof{}
	if err := strict(st.Predicate, p); err != nil {
		return fail(err)
	}
	if p.Passport != nil && !reflect.ValueOf(p.Attestation).IsZero() {
		return fail(errors.New("it has an attestation and another verifier's"))
	}
	return env, st, p, nil
}

func sameSpelling(raw []byte, env sign.Envelope) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return err
	}
	again, err := json.Marshal(env)
	if err == nil && !bytes.Equal(again, compact.Bytes()) {
		err = errors.New("the envelope is spelled otherwise than it was written")
	}
	return err
}

func strict(raw json.RawMessage, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// subjects are what p speaks of, by digests that others know it by.
func subjects(p *api.ReleaseProof) ([]sign.Subject, error) {
	if p.Passport != nil {
		return passportSubjects(p.Passport.Token), nil
	}
	list := []sign.Subject{subject(api.SubjectEndorsement, sha256Hex(p.Attestation.Offer.EKCertificate))}
	config, err := initdata.Parse(p.Attestation.Message.InitData)
	if err != nil {
		return nil, err
	}
	if config != nil {
		list = append(list, subject(api.SubjectConfiguration, hex.EncodeToString(config.Sum)))
		for _, image := range config.Config().Images() {
			if _, digest, ok := strings.Cut(image, "@sha256:"); ok {
				list = append(list, subject(api.SubjectWorkload, digest))
			}
		}
	}
	for _, raw := range p.Attestation.References {
		values, err := peekReference(raw)
		if err != nil {
			return nil, err
		}
		list = append(list, subject(api.SubjectMachineImage, strings.TrimPrefix(values.UKI, "sha256:")))
	}
	return list, nil
}

func subject(name, digest string) sign.Subject {
	return sign.Subject{Name: name, Digest: map[string]string{"sha256": digest}}
}

func sha256Hex(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// AttestationInput is what the attestation policy is asked.
func AttestationInput(tee string, claims attest.Claims, init *initdata.Document, at time.Time) map[string]any {
	input := map[string]any{"tee": tee, "claims": map[string]any(claims), "time": at.Unix()}
	if init != nil {
		input["init_data"] = map[string]any{"digest": init.Digest, "data": init.Data}
	}
	return input
}

// ResourceData is what the resource policy is given beside the token's claims.
// The plugin of what the broker itself keeps is called "resource".
func ResourceData(plugin, resource string, query url.Values) map[string]any {
	plain := map[string]string{}
	for name := range query {
		plain[name] = query.Get(name)
	}
	return map[string]any{"plugin": plugin, "resource-path": strings.Split(resource, "/"), "query": plain}
}
