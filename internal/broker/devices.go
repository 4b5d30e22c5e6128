package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/proof"
)

// maxDevices bounds the additional devices of one machine.
const maxDevices = 64

// A machine may show evidence of devices beside itself: a JSON object in a
// string, of the evidence by the kind (kbs/src/attestation/backend.rs).
func parseDevices(text string) (map[string]json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	var all map[string]json.RawMessage
	if err := exactly([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("additional_evidence: %w", err)
	}
	if len(all) > maxDevices {
		return nil, fmt.Errorf("additional_evidence: %d devices, at most %d are judged", len(all), maxDevices)
	}
	return all, nil
}

// A judgedDevice is one as the token tells of it, and what its policy was asked.
type judgedDevice struct {
	device   ear.Device
	question question
}

// judgeDevices verifies each device's evidence and asks the policy of its
// class, noting the good ones in entry. One that is not affirmed fails the machine.
// The rules are those that judged the machine: its record shows their references.
func (b *Broker) judgeDevices(ctx context.Context, rules *rules, s session, a *attestation, at time.Time, entry *api.AuditEntry) ([]judgedDevice, error) {
	if len(a.devices) == 0 {
		return nil, nil
	}
	digest, err := attest.DeviceDigest(a.RuntimeData)
	if err != nil {
		return nil, attestRefusal("%w", err)
	}
	var judged []judgedDevice
	for _, tee := range slices.Sorted(maps.Keys(a.devices)) {
		d, err := b.judgeDevice(ctx, rules, s.params, tee, a.devices[tee], attest.Binding{RuntimeDigest: digest}, at)
		if err != nil {
			return nil, attestRefusal("additional device %q: %w", tee, err)
		}
		judged = append(judged, d)
		entry.Devices = append(entry.Devices, tee)
	}
	return judged, nil
}

func (b *Broker) judgeDevice(ctx context.Context, rules *rules, params api.RequestParams, tee string, evidence json.RawMessage, bound attest.Binding, at time.Time) (judgedDevice, error) {
	verifier, ok := b.verifiers[tee]
	if !ok {
		return judgedDevice{}, fmt.Errorf("its kind is not supported by this broker")
	}
	session, err := verifier.Begin(params)
	if err != nil {
		return judgedDevice{}, err
	}
	claims, err := session.Verify(evidence, bound)
	if err != nil {
		return judgedDevice{}, err
	}
	class := attest.ClassOf(verifier)
	kind := policyOf(class)
	if _, ok := rules.policies[kind]; !ok {
		return judgedDevice{}, fmt.Errorf("no policy is set for devices of class %s", class)
	}
	answer := b.decide(ctx, rules, kind, proof.AttestationInput(tee, claims, nil, at), nil)
	if !answer.Allow {
		return judgedDevice{}, &denial{answer.Reasons}
	}
	return judgedDevice{ear.Device{TEE: tee, Class: class, Claims: claims, Trust: answer.Trust, Extensions: answer.Named()}, answer}, nil
}

// inToken are the devices as a token has them.
func inToken(devices []judgedDevice) (list []ear.Device) {
	for _, d := range devices {
		list = append(list, d.device)
	}
	return list
}

// inProof are the devices as a proof has them, with no more of the broker's data
// than they must be given. The images that their policies saw go to references.
func (b *Broker) inProof(ctx context.Context, devices []judgedDevice, references map[string]*api.ReferenceValues) (list []api.ProofDevice, err error) {
	for _, d := range devices {
		q, shown, same := b.narrow(ctx, d.question, d.device.Claims, "")
		if !same {
			shown = q.rules.trusted
		}
		maps.Copy(references, shown.values)
		decision, err := q.proof(nil)
		if err != nil {
			return nil, err
		}
		list = append(list, api.ProofDevice{TEE: d.device.TEE, Class: d.device.Class, Policy: decision})
	}
	return list, nil
}

// policyOf names the attestation policy of a class of devices.
func policyOf(class string) string {
	if class == "cpu" {
		return attestationPolicy
	}
	return attestationPolicy + "-" + class
}

// attestationPolicyOf reads a policy's ID: default_CLASS, or default, which is
// that of the processor.
func attestationPolicyOf(id string) (string, error) {
	class, ok := strings.CutPrefix(id, "default_")
	switch {
	case id == "" || id == "default":
		return attestationPolicy, nil
	case ok && slices.Contains(attest.Classes(), class):
		return policyOf(class), nil
	}
	return "", refuse(http.StatusBadRequest, kindPolicy, "policy %q is not known: expected default, or default_ and one of %s", id, strings.Join(attest.Classes(), ", "))
}
