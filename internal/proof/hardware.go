package proof

import (
	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm/verify"
)

// verifier is the reader's for a kind of evidence, or nil.
func (c *checker) verifier(tee string) attest.Verifier {
	for _, v := range c.Hardware {
		if v.TEE() == tee {
			return v
		}
	}
	return nil
}

// hardware judges evidence that is no TPM's as a broker does, from its first
// byte to its claims. What is of TPMs alone is not checked then.
func (c *checker) hardware(bound attest.Binding) {
	c.report.without = []string{checkDevices, checkChain, verify.StepEndorsement, verify.StepAttestationKey, verify.StepQuote, verify.StepPCRs,
		verify.StepHandshake, verify.StepInitData, verify.StepEventLog, checkPCRs}
	a := c.proof.Attestation
	session, err := c.verifier(a.TEE).Begin(api.RequestParams{})
	var claims attest.Claims
	if err == nil {
		claims, err = session.Verify(a.Message.TEEEvidence.Primary, bound)
	}
	text := "signed by hardware of kind " + a.TEE + " whose maker certified it, over the broker's nonce, the machine's ephemeral key and the configuration"
	if c.report.check(checkHardware, text, err) {
		c.review = &verify.Review{Claims: claims}
	}
}
