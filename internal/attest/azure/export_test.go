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
