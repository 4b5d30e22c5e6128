package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/policy"
)

// additional reads the evidence of devices beside the machine's processor, by
// its kind.
func additional(m api.KBSAttestation) (all map[string]json.RawMessage, err error) {
	if text := m.TEEEvidence.Additional; text != "" {
		err = json.Unmarshal([]byte(text), &all)
	}
	if err != nil {
		err = fmt.Errorf("evidence of additional devices: %w", err)
	}
	return all, err
}

// devices judges those beside the processor: each by the reader's verifier of its
// kind, and by a policy that the reader takes for good. It tells whether all are
// good, and whether the proof tells of no others.
func (c *checker) devices(ctx context.Context) bool {
	shown, err := additional(c.proof.Attestation.Message)
	if err == nil && len(shown)+len(c.proof.Attestation.Devices) == 0 {
		return true
	}
	c.report.without = slices.DeleteFunc(c.report.without, func(name string) bool { return name == checkDevices })
	var texts []string
	if err == nil {
		texts, err = c.judgeDevices(ctx, shown)
	}
	return c.report.check(checkDevices, strings.Join(texts, "; "), err)
}

func (c *checker) judgeDevices(ctx context.Context, shown map[string]json.RawMessage) (texts []string, err error) {
	bound := attest.Binding{}
	if bound.RuntimeDigest, err = attest.DeviceDigest(c.proof.Attestation.Message.RuntimeData); err != nil {
		return nil, err
	}
	kinds := slices.Sorted(maps.Keys(shown))
	said := c.proof.Attestation.Devices
	if len(said) != len(kinds) {
		return nil, fmt.Errorf("the machine showed %d, and %d were judged", len(kinds), len(said))
	}
	for i, tee := range kinds {
		text, err := c.device(ctx, said[i], tee, shown[tee], bound)
		if err != nil {
			return nil, fmt.Errorf("%.40q: %w", tee, err)
		}
		texts = append(texts, tee+" ("+said[i].Class+"): "+text)
	}
	return texts, nil
}

func (c *checker) device(ctx context.Context, said api.ProofDevice, tee string, evidence json.RawMessage, bound attest.Binding) (string, error) {
	verifier := c.verifier(tee)
	if verifier == nil {
		return "", fmt.Errorf("evidence of this kind cannot be judged by this program")
	}
	if class := attest.ClassOf(verifier); said.TEE != tee || said.Class != class {
		return "", fmt.Errorf("the proof tells of %.40q of class %.40q in its place, it is of class %s", said.TEE, said.Class, class)
	}
	session, err := verifier.Begin(api.RequestParams{})
	if err != nil {
		return "", err
	}
	claims, err := session.Verify(evidence, bound)
	if err != nil {
		return "", err
	}
	good := goodPolicies(policy.Attestation, "attestation", c.AttestationPolicies)
	if said.Class != "cpu" {
		good = namedPolicies(c.DevicePolicies[said.Class])
	}
	input := AttestationInput(tee, claims, nil, c.proof.Attestation.Time)
	text, err := c.redecide(ctx, good, said.Policy, input, c.given(said.Policy))
	if err != nil {
		return "", fmt.Errorf("attestation policy: %w", c.misplaced(said, err))
	}
	c.judged = append(c.judged, ear.Device{TEE: tee, Class: said.Class, Trust: said.Policy.Trust, Extensions: said.Policy.Extensions, Claims: claims})
	c.report.Release.Devices = append(c.report.Release.Devices, tee)
	return "signed for this handshake; " + text, nil
}

// misplaced says of a policy that is not good for the class of a device for which
// one the reader named it.
func (c *checker) misplaced(said api.ProofDevice, err error) error {
	var nobody *PolicyError
	if !errors.As(err, &nobody) {
		return err
	}
	for _, class := range slices.Sorted(maps.Keys(c.DevicePolicies)) {
		if class != said.Class && slices.Contains(c.DevicePolicies[class], said.Policy.Policy) {
			return fmt.Errorf("the reader named it for class %s, and the device is of class %s: %w", class, said.Class, err)
		}
	}
	return err
}

// given are the reference values that a policy was given: those of the proof,
// and where the proof is about several parts of a machine, those of them that
// its data names.
func (c *checker) given(d api.ProofDecision) map[string]any {
	if len(c.proof.Attestation.Devices) == 0 {
		return map[string]any{"reference": c.references}
	}
	var data struct {
		Reference map[string]json.RawMessage `json:"reference"`
	}
	_ = json.Unmarshal(d.Data, &data) // redecide reads it again, and says why it cannot
	few := maps.Clone(c.references)
	maps.DeleteFunc(few, func(id string, _ *api.ReferenceValues) bool { _, ok := data.Reference[id]; return !ok })
	return map[string]any{"reference": few}
}
