package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/oci"
)

// brokerDelete, brokerWithdraw and brokerDistrust undo set, allow and trust.

func (a *app) brokerDelete() *cobra.Command {
	return a.takeBack(&cobra.Command{
		Use:     "delete PATH",
		Short:   "Forget a secret",
		Long:    "Deletes the resource REPOSITORY/TYPE/TAG. An image that is encrypted under it\ncannot be opened any more.",
		Example: "  holdfast broker delete redis/secret/password",
	}, resource, (*admin.Client).DeleteResource)
}

func (a *app) brokerWithdraw() *cobra.Command {
	return a.takeBack(&cobra.Command{
		Use:     "withdraw DIGEST",
		Short:   "End a configuration's authorisation, at once",
		Long:    "Ends the authorisation of the configuration with the digest sha256:…; machines\nthat run with it get nothing more.",
		Example: "  holdfast broker withdraw sha256:9ab0…",
	}, sha256Digest, (*admin.Client).Withdraw)
}

func (a *app) brokerDistrust() *cobra.Command {
	return a.takeBack(&cobra.Command{
		Use:     "distrust ID",
		Short:   "Forget a machine image's reference values",
		Long:    "Forgets the reference values with the ID sha256:…, which list shows. Machines\nthat run the image get nothing more, unless other values of it are trusted.",
		Example: "  holdfast broker distrust sha256:4c1d…",
	}, sha256Digest, (*admin.Client).Distrust)
}

func (a *app) takeBack(c *cobra.Command, read func(string) (string, error), do func(*admin.Client, context.Context, string) error) *cobra.Command {
	verb := c.Name()
	c.Args = cobra.ExactArgs(1)
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		what, err := read(args[0])
		if err != nil {
			return err
		}
		if err := do(b, ctx, what); err != nil {
			return fmt.Errorf("%s %s: %w", verb, what, err)
		}
		return a.answer(map[string]string{verb: what}, func(w io.Writer) { fmt.Fprintf(w, "%s: done, %s\n", verb, what) })
	})
}

func sha256Digest(word string) (string, error) {
	if d, err := oci.ParseDigest(word); err != nil || d.Algorithm() != "sha256" {
		return "", usageError{fmt.Errorf("digest %.80q: want sha256: and 64 hex digits", word)}
	}
	return word, nil
}

// store sets a resource that must not be there yet, unless replace.
func store(ctx context.Context, b *admin.Client, path string, value []byte, replace bool) error {
	if replace {
		return b.SetResource(ctx, path, value)
	}
	err := b.CreateResource(ctx, path, value)
	if errors.Is(err, admin.ErrExist) {
		return fmt.Errorf("the broker has one already, and images may need it: --replace replaces it")
	}
	return err
}
