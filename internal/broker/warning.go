package broker

import "holdfast/internal/attest/sample"

// warning is what the token's evidence says against itself.
func (v *verified) warning() string {
	device, _ := v.evidence()[sample.TEE].(map[string]any)
	text, _ := device["warning"].(string)
	return text
}
