package verify

import "holdfast/internal/attest/tdx"

// InstanceOf is the platform instance of a chain's first certificate.
func InstanceOf(chain []byte) string {
	list, err := certificates(chain)
	if err != nil || len(list) == 0 {
		return "no certificate"
	}
	p, err := newPlatform(list[0])
	if err != nil {
		return err.Error()
	}
	return p.instance
}

// Signatures checks a quote as far as its own chain goes.
func (v *Verifier) Signatures(q *tdx.Quote) error {
	leaf, _, err := v.chain(q.QE.Chain)
	if err != nil {
		return err
	}
	return signatures(q, leaf)
}
