package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/cosign"
	"holdfast/internal/wiring"
)

func (a *app) imageSign() *cobra.Command {
	var s wiring.Signing
	var annotations []string
	c := &cobra.Command{
		Use:   "sign IMAGE",
		Short: "Sign an image, and store the signature beside it",
		Long: `Signs the digest of what IMAGE names, an image or an index of images, and stores
the signature beside it as cosign does: a Sigstore bundle that refers to the
image. "cosign verify --key" accepts it. The name by which IMAGE was given is
signed too, when it is in a registry.
` + referenceHelp + `
Exit codes: 0 signed, 1 failed, 2 usage.`,
		Example: "  holdfast image sign 127.0.0.1:5000/redis:7\n  holdfast image sign oci:redis --as registry.example.com/redis:7 --key release.pem",
		Args:    cobra.ExactArgs(1),
	}
	options := a.transportFlags(c)
	c.Flags().StringVar(&s.Key, "key", "", "PEM file of a private key, PKCS #8 (default: this installation's image key)")
	c.Flags().StringVar(&s.As, "as", "", "name to sign the image by, as HOST/NAME:TAG (default: IMAGE, when it is in a registry)")
	c.Flags().StringArrayVarP(&annotations, "annotation", "a", nil, "NAME=VALUE to be signed too; may be repeated")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		if s.Annotations, err = parseAnnotations(annotations); err != nil {
			return usageError{err}
		}
		s.Image = args[0]
		dir, err := a.installation()
		if err != nil {
			return err
		}
		r, err := dir.Sign(cmd.Context(), s, o)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		return a.answer(r, func(w io.Writer) {
			fmt.Fprintf(w, "%s: signed %s\n", r.Reference, r.Digest)
			fmt.Fprintf(w, "  by key     %s\n  signature  %s\n", r.Key, r.Signature)
		})
	}
	return c
}

func parseAnnotations(words []string) (map[string]any, error) {
	var m map[string]any
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--annotation %.80q: want NAME=VALUE", word)
		}
		if m == nil {
			m = map[string]any{}
		}
		m[name] = value
	}
	return m, nil
}

func (a *app) imageVerify() *cobra.Command {
	var v wiring.Checking
	c := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Check who signed an image",
		Long: `Looks for signatures beside what IMAGE names, in both forms of cosign: bundles
that refer to the image, and the older tag sha256-….sig. One good signature by
one of the keys is enough. No transparency log is asked, and no certificate
believed: the keys are those that you give.

With --policy a policy.json as of the containers tools decides instead, and its
scope and requirement are named.
` + referenceHelp + `
Exit codes: 0 signed so, 1 failed, 2 usage, 3 not signed so.`,
		Example: "  holdfast image verify 127.0.0.1:5000/redis:7\n  holdfast image verify 127.0.0.1:5000/redis:7 --key cosign.pub\n  holdfast image verify oci:redis --policy policy.json --as registry.example.com/redis:7",
		Args:    cobra.ExactArgs(1),
	}
	options := a.transportFlags(c)
	c.Flags().StringArrayVar(&v.Keys, "key", nil, "PEM file of public keys; may be repeated (default: this installation's image key)")
	c.Flags().StringVar(&v.Policy, "policy", "", "file of a policy that decides, instead of keys")
	c.Flags().StringVar(&v.As, "as", "", "name that the policy is to judge IMAGE by, as HOST/NAME:TAG (default: IMAGE)")
	c.MarkFlagsMutuallyExclusive("key", "policy")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if v.As != "" && v.Policy == "" {
			return usageError{errors.New("--as is for --policy")}
		}
		o, err := options()
		if err != nil {
			return err
		}
		v.Image = args[0]
		dir, err := a.installation()
		if err != nil {
			return err
		}
		r, err := dir.CheckSignatures(cmd.Context(), v, o)
		if r == nil {
			return fmt.Errorf("verify: %w", err)
		}
		return errors.Join(a.answer(r, func(w io.Writer) { printChecked(w, r) }), err)
	}
	return c
}

func printChecked(w io.Writer, r *wiring.Checked) {
	verdict := "signed"
	switch {
	case r.Decision != nil && r.Verified:
		verdict = "allowed"
	case r.Decision != nil:
		verdict = "REFUSED"
	case !r.Verified:
		verdict = "NOT signed as wanted"
	}
	fmt.Fprintf(w, "%s: %s, %s\n", r.Reference, verdict, r.Digest)
	for _, s := range r.Signatures {
		if s.Problem != "" {
			fmt.Fprintf(w, "  -  %s\n", printable(s.Problem))
			continue
		}
		fmt.Fprintf(w, "  =  by key %s", s.Key)
		if s.Name != "" {
			fmt.Fprintf(w, " as %s", printable(s.Name))
		}
		fmt.Fprintln(w)
	}
	if r.Decision != nil {
		printDecision(w, r.Decision)
	}
}

func printDecision(w io.Writer, d *cosign.Decision) {
	fmt.Fprintf(w, "  by %s\n", printable(d.Place()))
	for _, j := range d.Requirements {
		mark := "-"
		if j.Fulfilled {
			mark = "="
		}
		fmt.Fprintf(w, "  %s  %s: %s\n", mark, j.Type, printable(j.Reason))
	}
}
