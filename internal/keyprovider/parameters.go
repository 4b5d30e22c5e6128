package keyprovider

import (
	"fmt"
	"strings"

	"holdfast/internal/enc"
)

// Parameters are what a person may say of the key that wraps.
type Parameters struct {
	KID     string // kbs:///REPOSITORY/TYPE/TAG; empty: a new one
	KeyPath string // a file of 32 bytes to make it of
}

// ParseParameters reads KEY=VALUE::KEY=VALUE, as coco_keyprovider does
// (guest-components, attestation-agent/coco_keyprovider/src/enc_mods). What that
// skips in silence is refused: a word that was not understood may have been
// meant as a restriction.
func ParseParameters(text string) (p Parameters, err error) {
	if text == "" {
		return p, nil
	}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(text, "::") {
		name, value, ok := strings.Cut(field, "=")
		if !ok || seen[name] {
			return p, fmt.Errorf("%w: parameter %.40q: want KEY=VALUE, each once, :: between them", ErrMessage, field)
		}
		seen[name] = true
		if err := p.set(name, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *Parameters) set(name, value string) (err error) {
	switch {
	case name == "keyid":
		p.KID, err = kid(value)
		return err
	case name == "keypath" && value != "":
		p.KeyPath = value
	case name == "sample" && value == "false":
	case name == "sample":
		return fmt.Errorf("%w: sample=%.20s: the sample key is known to everybody", ErrDenied, value)
	case name == "algorithm" && value == enc.WrapA256GCM:
	case name == "algorithm":
		return fmt.Errorf("%w: algorithm=%.20s: want %s, which alone authenticates", ErrDenied, value, enc.WrapA256GCM)
	default:
		return fmt.Errorf("%w: parameter %.40q: want keyid, keypath, sample or algorithm", ErrMessage, name)
	}
	return nil
}

// kid takes a resource with its scheme or, as coco_keyprovider does, with a
// slash in its place; never with a host: which broker is asked, is the
// machine's configuration.
func kid(value string) (string, error) {
	if strings.HasPrefix(value, "/") {
		value = "kbs://" + value
	}
	if err := enc.CheckKID(value); err != nil {
		return "", fmt.Errorf("%w: keyid: %w", ErrMessage, err)
	}
	return value, nil
}
