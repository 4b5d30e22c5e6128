package wiring

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/sign"
)

// A Report is the chain of one run, from what was measured to what was
// released. It holds digests and names, never a secret.
type Report struct {
	Name          string    `json:"name"`
	Workload      Workload  `json:"workload"`
	Machine       Guest     `json:"machine"`
	Configuration string    `json:"configuration"`         // sha256:… of the init-data document
	Resources     []string  `json:"resources"`             // what that configuration is to have
	Endorsement   string    `json:"endorsement,omitempty"` // of the TPM that answered
	BrokerKey     string    `json:"broker_key,omitempty"`  // that signed the attestation result
	Measured      []Measure `json:"measured"`
	Decisions     []Release `json:"decisions"`
	ProofFile     string    `json:"proof_file,omitempty"` // where --proof put the proofs
	Stages        []Stage   `json:"stages"`
	// StartedAfter is from the machine's start to the workload's.
	StartedAfter time.Duration `json:"started_after_ns"`
	Outcome      string        `json:"outcome"`
	ExitCode     *int          `json:"exit_code,omitempty"` // the workload's, if it ran and ended
	Logs         string        `json:"logs,omitempty"`      // kept when the machine did not end well
}

// Workload names what was to run.
type Workload struct {
	Image     string   `json:"image"`
	Digest    string   `json:"digest"`
	Encrypted bool     `json:"encrypted"`
	Keys      []string `json:"keys"` // broker resources that its layers need
}

// Guest names the machine image.
type Guest struct {
	Image    string `json:"image"`
	UKI      string `json:"uki"`
	RootHash string `json:"root_hash"`
	Folder   string `json:"folder"`
}

// A Measure is one PCR: what the machine's TPM signed, and what was expected.
type Measure struct {
	PCR      int    `json:"pcr"`
	Meaning  string `json:"meaning"`
	Value    string `json:"value"`
	Expected string `json:"expected"`
}

// Good says whether the machine showed what was expected.
func (m Measure) Good() bool { return m.Value == m.Expected }

// A Release is one decision of the broker.
type Release struct {
	Action   string   `json:"action"`
	Decision string   `json:"decision"`
	Resource string   `json:"resource,omitempty"`
	Session  string   `json:"session"`
	Reasons  []string `json:"reasons,omitempty"`
	Proof    string   `json:"proof,omitempty"` // its ID at the broker
}

// A Stage is a step of the machine's life that was completed.
type Stage struct {
	Name  string        `json:"name"`
	Text  string        `json:"text"`
	After time.Duration `json:"after_ns"` // since the machine was started
}

// introduce fills the report with what is known before the machine starts.
func (s *session) introduce() {
	img := s.workload.image
	s.report.Workload = Workload{Image: s.Image, Digest: string(img.Digest), Encrypted: img.Encrypted, Keys: s.workload.keys}
	s.report.Machine = Guest{Image: s.guest.Name, UKI: string(s.guest.UKI.Digest), RootHash: s.guest.RootHash, Folder: s.guest.Dir}
}

// conclude fills the report from the broker's audit log and the reference
// values.
func (s *session) conclude() error {
	if s.Broker != nil {
		return nil
	}
	s.report.BrokerKey = sign.KeyID(s.ring.Pair(keys.Token).Certificate)
	expected, err := s.expected()
	if err != nil {
		return err
	}
	entries, err := s.decisions(context.Background())
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	for _, e := range entries {
		s.report.Decisions = append(s.report.Decisions, Release{e.Action, e.Decision, e.Resource, e.Session, e.Reasons, e.Proof})
		if e.Claims != nil {
			s.report.Endorsement = e.Claims.EK
			s.report.Measured = measures(e.Claims.PCRs, expected)
		}
	}
	return s.copyProofs()
}

// canKeepProofs tries the file of copyProofs: the end of a run is late to learn
// that it cannot be written.
func (s *session) canKeepProofs() error {
	if s.Proof == "" {
		return nil
	}
	f, err := atomicfile.Create(s.Proof, 0o600)
	if err != nil {
		return fmt.Errorf("proof of the run: %w", err)
	}
	f.Discard()
	return nil
}

// copyProofs puts the proofs of all that was released to this run into one
// file, a line each.
func (s *session) copyProofs() error {
	if s.Proof == "" {
		return nil
	}
	list, err := proofsOf(context.Background(), s.services.admin(), Released{Configuration: s.report.Configuration})
	if err == nil {
		s.report.ProofFile = s.Proof
		err = atomicfile.WriteFile(s.Proof, bytes.Join(list, nil), 0o600)
	}
	if err != nil {
		return fmt.Errorf("proof of the run: %w", err)
	}
	return nil
}

// decisions are those about this run's configuration.
func (s *session) decisions(ctx context.Context) ([]api.AuditEntry, error) {
	all, err := s.services.admin().Decisions(ctx)
	if err != nil {
		return nil, err
	}
	sessions := map[string]bool{}
	var mine []api.AuditEntry
	for _, e := range all {
		if e.InitData == s.configDigest() && e.Session != "" {
			sessions[e.Session] = true
		}
		if sessions[e.Session] {
			mine = append(mine, e)
		}
	}
	return mine, nil
}

// judged are the PCRs that policy looks at.
var judged = []int{4, 7, 8, 11, 12, 13}

// expected are the PCRs that a boot of the machine image with this run's
// firmware and configuration must show.
func (s *session) expected() (map[int]string, error) {
	raw, err := input.ReadFile(s.guest.ReferencePath(), input.Document)
	if err != nil {
		return nil, err
	}
	env, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	st, err := sign.Peek(env)
	if err != nil {
		return nil, err
	}
	var values api.ReferenceValues
	if err := input.JSON(st.Predicate, &values); err != nil {
		return nil, err
	}
	expected := map[int]string{8: extended(s.report.Configuration)}
	collect(expected, values.PCRs)
	for _, f := range values.Firmware {
		if f.SecureBoot {
			collect(expected, f.PCRs)
		}
	}
	return expected, nil
}

func collect(into map[int]string, from map[string]string) {
	for number, value := range from {
		if n, err := strconv.Atoi(number); err == nil {
			into[n] = value
		}
	}
}

func measures(pcrs map[string]string, expected map[int]string) []Measure {
	var list []Measure
	for _, n := range judged {
		list = append(list, Measure{PCR: n, Meaning: proof.Meaning(n), Value: pcrs[strconv.Itoa(n)], Expected: expected[n]})
	}
	return list
}
