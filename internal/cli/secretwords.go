package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/enc/sealed"
	"holdfast/internal/input"
	"holdfast/internal/wiring"
)

var secretForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func parseSecrets(words []string) ([]wiring.Secret, error) {
	var list []wiring.Secret
	for i, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || !secretForm.MatchString(name) || name == "." || name == ".." {
			// The word may be the secret itself, so it is not repeated.
			return nil, fmt.Errorf("--secret, number %d: want NAME=VALUE or NAME=@FILE, NAME of letters, digits, dot, underscore, hyphen", i+1)
		}
		s := wiring.Secret{Name: name, Value: []byte(value)}
		if strings.HasPrefix(value, "kbs:///") {
			s.Value, s.Resource = nil, value
		}
		if sealed.Is(value) {
			s.Value, s.Sealed = nil, value
		}
		if file, ok := strings.CutPrefix(value, "@"); ok {
			raw, err := input.ReadFile(file, input.Secret)
			if err != nil {
				return nil, fmt.Errorf("--secret %s: %w", name, err)
			}
			s.Value = raw
		}
		if err := checkSecret(s, list); err != nil {
			return nil, fmt.Errorf("--secret %s: %w", name, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// checkSecret refuses early what the broker would refuse once a machine image
// is built.
func checkSecret(s wiring.Secret, before []wiring.Secret) error {
	const most = 2 << 20
	switch {
	case slices.ContainsFunc(before, func(b wiring.Secret) bool { return b.Name == s.Name }):
		return errors.New("is given twice")
	case strings.HasPrefix(s.Name, "."):
		return errors.New("begins with a dot")
	case s.Sealed != "":
		return checkSealed(s.Sealed)
	case s.Resource == "" && len(s.Value) == 0:
		return errors.New("is empty")
	case len(s.Value) > most:
		return fmt.Errorf("has %d bytes, more than %d", len(s.Value), most)
	}
	return nil
}
