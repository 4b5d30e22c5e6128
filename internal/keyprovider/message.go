package keyprovider

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	opWrap   = "keywrap"
	opUnwrap = "keyunwrap"
)

// The messages of ocicrypt's docs/keyprovider.md, as
// keywrap/keyprovider/keyprovider.go has them.
type (
	input struct {
		Op     string       `json:"op"`
		Wrap   wrapParams   `json:"keywrapparams"`
		Unwrap unwrapParams `json:"keyunwrapparams"`
	}
	wrapParams struct {
		Config  *config `json:"ec"`
		Options octets  `json:"optsdata"`
	}
	config struct {
		Parameters map[string][]octets `json:"Parameters"`
	}
	unwrapParams struct {
		Annotation octets `json:"annotation"`
	}
	output struct {
		Wrapped   *wrapResult   `json:"keywrapresults,omitempty"`
		Unwrapped *unwrapResult `json:"keyunwrapresults,omitempty"`
	}
	wrapResult struct {
		Annotation octets `json:"annotation"`
	}
	unwrapResult struct {
		Options octets `json:"optsdata"`
	}
)

func parse(raw []byte) (m input, err error) {
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if m.Op == opWrap && len(m.Wrap.Options) == 0 {
		return m, fmt.Errorf("%w: there is nothing to wrap", ErrMessage)
	}
	return m, nil
}

// parameters is what a person wrote behind "provider:attestation-agent:".
func (m input) parameters() (string, error) {
	if m.Wrap.Config == nil {
		return "", fmt.Errorf("%w: it has no encryption config", ErrMessage)
	}
	list, ok := m.Wrap.Config.Parameters[Name]
	if !ok {
		return "", fmt.Errorf("%w: it is for another provider, want %s", ErrMessage, Name)
	}
	if len(list) != 1 {
		return "", fmt.Errorf("%w: %d lists of parameters, want one", ErrMessage, len(list))
	}
	return string(list[0]), nil
}

// octets are bytes in JSON. Go's clients write base64, and Rust's an array of
// numbers for a Vec<u8>; Go reads both and Rust an array only, so an array is
// what is written.
type octets []byte

func (o octets) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 4*len(o)+2), '[')
	for i, c := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(c), 10)
	}
	return append(b, ']'), nil
}

func (o *octets) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		decoded, err := decode(text)
		*o = decoded
		return err
	}
	var numbers []json.Number
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return errors.New("bytes: want base64, or an array of numbers")
	}
	bytes := make([]byte, len(numbers))
	for i, n := range numbers {
		v, err := strconv.ParseUint(n.String(), 10, 8)
		if err != nil {
			return fmt.Errorf("bytes: %.20q is none", n.String())
		}
		bytes[i] = byte(v)
	}
	*o = bytes
	return nil
}

// decode reads both alphabets of base64 (RFC 4648, 4 and 5), padded or not.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errors.New("bytes: the base64 has line breaks")
	}
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("bytes: want base64, or an array of numbers")
	}
	return b, nil
}
