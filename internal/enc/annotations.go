package enc

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const keysPrefix = AnnotationPrefix + "keys."

// Packets splits an annotation of wrapped keys: base64 values, separated by
// commas. An empty annotation has none.
func Packets(annotation string) ([][]byte, error) {
	if annotation == "" {
		return nil, nil
	}
	var packets [][]byte
	for part := range strings.SplitSeq(annotation, ",") {
		packet, err := decodeBase64(part)
		if err != nil {
			return nil, fmt.Errorf("%w: wrapped key: %v", ErrFormat, err)
		}
		packets = append(packets, packet)
	}
	return packets, nil
}

// Schemes lists the ways that a layer's key is wrapped, sorted: "jwe",
// "provider.attestation-agent", or others' such as "pkcs7".
func Schemes(annotations map[string]string) []string {
	var schemes []string
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if scheme, ok := strings.CutPrefix(name, keysPrefix); ok {
			schemes = append(schemes, scheme)
		}
	}
	return schemes
}

// Others returns the annotations that have nothing to do with encryption.
func Others(annotations map[string]string) map[string]string {
	others := map[string]string{}
	for name, value := range annotations {
		if !strings.HasPrefix(name, AnnotationPrefix) {
			others[name] = value
		}
	}
	if len(others) == 0 {
		return nil
	}
	return others
}
