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

// judgeDevices verifies each device's evidence and asks the policy of its
// class. One that is not affirmed fails the machine.
func (b *Broker) judgeDevices(ctx context.Context, s session, a *attestation) ([]ear.Device, error) {
	if len(a.devices) == 0 {
		return nil, nil
	}
	digest, err := attest.DeviceDigest(a.RuntimeData)
	if err != nil {
		return nil, attestRefusal("%w", err)
	}
	var judged []ear.Device
	for _, tee := range slices.Sorted(maps.Keys(a.devices)) {
		d, err := b.judgeDevice(ctx, s.params, tee, a.devices[tee], attest.Binding{RuntimeDigest: digest})
		if err != nil {
			return nil, attestRefusal("additional device %q: %w", tee, err)
		}
		judged = append(judged, d)
	}
	return judged, nil
}

func (b *Broker) judgeDevice(ctx context.Context, params api.RequestParams, tee string, evidence json.RawMessage, bound attest.Binding) (ear.Device, error) {
	verifier, ok := b.verifiers[tee]
	if !ok {
		return ear.Device{}, fmt.Errorf("its kind is not supported by this broker")
	}
	session, err := verifier.Begin(params)
	if err != nil {
		return ear.Device{}, err
	}
	claims, err := session.Verify(evidence, bound)
	if err != nil {
		return ear.Device{}, err
	}
	d := ear.Device{TEE: tee, Class: attest.ClassOf(verifier), Claims: claims}
	rules, err := b.rules(ctx)
	if err != nil {
		return d, err
	}
	kind := policyOf(d.Class)
	if _, ok := rules.policies[kind]; !ok {
		return d, fmt.Errorf("no policy is set for devices of class %s", d.Class)
	}
	at := b.cfg.Now().UTC().Truncate(time.Second)
	answer := b.decide(ctx, rules, kind, proof.AttestationInput(tee, claims, nil, at), nil)
	if !answer.Allow {
		return d, &denial{answer.Reasons}
	}
	d.Trust, d.Extensions = answer.Trust, answer.Named()
	return d, nil
}

// policyOf names the attestation policy of a class of devices.
func policyOf(class string) string {
	if class == "cpu" {
		return attestationPolicy
	}
	return attestationPolicy + "-" + class
}

// deviceClasses are those of Trustee's policies (EarAttestationTokenBroker::new).
var deviceClasses = []string{"cpu", "gpu", "switch", "ppcie"}

// attestationPolicyOf reads a policy's ID: default_CLASS, or default, which is
// that of the processor.
func attestationPolicyOf(id string) (string, error) {
	class, ok := strings.CutPrefix(id, "default_")
	switch {
	case id == "" || id == "default":
		return attestationPolicy, nil
	case ok && slices.Contains(deviceClasses, class):
		return policyOf(class), nil
	}
	return "", refuse(http.StatusBadRequest, kindPolicy, "policy %q is not known: expected default, or default_ and one of %s", id, strings.Join(deviceClasses, ", "))
}
