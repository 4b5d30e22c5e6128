package broker

import (
	"errors"

	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/sample"
)

// warning is what the token's evidence says against itself.
func (v *verified) warning() string {
	device, _ := v.evidence()[sample.TEE].(map[string]any)
	text, _ := device["warning"].(string)
	return text
}

var errSample = errors.New("its evidence is of kind sample, which proves nothing and is not taken here")

// proves refuses a token that rests on sample evidence where none is taken:
// another issuer may have been told to, or this broker before it was started
// anew.
func (b *Broker) proves(v *verified) error {
	if _, taken := b.verifiers[sample.TEE]; taken {
		return nil
	}
	submods, _ := v.claims["submods"].(map[string]any)
	for _, s := range submods {
		submod, _ := s.(map[string]any)
		evidence, _ := submod[ear.Evidence].(map[string]any)
		if _, has := evidence[sample.TEE]; has {
			return errSample
		}
	}
	return nil
}
