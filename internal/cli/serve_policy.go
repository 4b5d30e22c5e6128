package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// policyFlags are the words of serve about who must have signed its images.
func policyFlags(c *cobra.Command, e *wiring.Enforcement) {
	e.Pull = true
	c.Flags().StringVar(&e.File, "policy", "", "policy.json that images are held to; read again when it changes")
	c.Flags().StringVar(&e.Host, "policy-host", "", "how clients call this registry, as HOST[:PORT]: the policy judges by HOST/NAME:TAG (default: --registry-listen)")
	c.Flags().Var((*enforced)(e), "policy-at", "pull, push or pull,push: when images are held to it; a push by digest waits for its signature")
}

// enforced reads when a policy is in force.
type enforced wiring.Enforcement

func (e *enforced) String() string {
	var words []string
	if e.Pull {
		words = append(words, "pull")
	}
	if e.Push {
		words = append(words, "push")
	}
	return strings.Join(words, ",")
}

func (e *enforced) Type() string { return "WHEN" }

func (e *enforced) Set(text string) error {
	e.Pull, e.Push = false, false
	for word := range strings.SplitSeq(text, ",") {
		switch word {
		case "pull":
			e.Pull = true
		case "push":
			e.Push = true
		default:
			return fmt.Errorf("%.20q: want pull, push or pull,push", word)
		}
	}
	return nil
}
