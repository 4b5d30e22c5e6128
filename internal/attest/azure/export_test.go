package azure

import "encoding/base64"

// WithKeyOf is an HCL report with the runtime data of another, both as text.
func WithKeyOf(report, other string) string {
	a, err := unbase64(report)
	if err != nil {
		return err.Error()
	}
	b, err := unbase64(other)
	if err != nil {
		return err.Error()
	}
	return base64.URLEncoding.EncodeToString(append(a[:hclHeader+1184:hclHeader+1184], b[hclHeader+1184:]...))
}

// HCLOf is the HCL report of evidence.
func HCLOf(raw []byte) []byte {
	e, err := parse(raw)
	if err != nil {
		return nil
	}
	return e.HCL
}

// Check asks a report all that evidence asks it.
func (r *Report) Check() {
	_, _ = r.attestationKey()
	_ = r.boundTo(r.Hardware[:64])
	_ = r.isFor([]byte("digest"))
}
