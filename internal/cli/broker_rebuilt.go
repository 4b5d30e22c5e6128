package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/input"
	"holdfast/internal/wiring"
)

func (a *app) brokerRebuilders() *cobra.Command {
	return group("rebuilder", "Say whose word counts that an image was rebuilt",
		a.brokerRebuilderAdd(), a.brokerRebuilderList(), a.brokerRebuilderRemove())
}

func (a *app) brokerRebuilderAdd() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "add NAME FILE",
		Short:   "Give the public key of a rebuilder a name",
		Long:    "Takes the public key in the PEM file FILE (Ed25519, ECDSA or RSA): statements\nby it that an image was rebuilt count for NAME. One key has one name.",
		Example: "  holdfast broker rebuilder add alice alice.pub",
		Args:    cobra.ExactArgs(2),
	}, func(ctx context.Context, b *admin.Client, args []string) error {
		pem, err := input.ReadFile(args[1], input.Key)
		if err == nil {
			err = b.AddRebuilder(ctx, args[0], pem)
		}
		if err != nil {
			return fmt.Errorf("add rebuilder %.80s: %w", args[0], err)
		}
		return a.answer(map[string]string{"added": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "added %s\n", args[0]) })
	})
}

func (a *app) brokerRebuilderList() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List rebuilders and their keys",
		Long:    "Lists the names and the key IDs of rebuilders.",
		Example: "  holdfast broker rebuilder list",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, b *admin.Client, _ []string) error {
		list, err := b.Rebuilders(ctx)
		if err != nil {
			return err
		}
		return a.answer(list, func(w io.Writer) {
			for _, r := range list {
				fmt.Fprintf(w, "%-16s %s\n", r.Name, r.Key)
			}
		})
	})
}

func (a *app) brokerRebuilderRemove() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "Let a rebuilder's word count no more, at once",
		Long:    "Forgets the key: what it signed counts no more, tokens that are out included.",
		Example: "  holdfast broker rebuilder remove alice",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, b *admin.Client, args []string) error {
		if err := b.RemoveRebuilder(ctx, args[0]); err != nil {
			return fmt.Errorf("remove rebuilder %.80s: %w", args[0], err)
		}
		return a.answer(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "removed %s\n", args[0]) })
	})
}

func (a *app) brokerRebuilt() *cobra.Command {
	var forget string
	c := &cobra.Command{
		Use:   "rebuilt [IMAGE|FILE…]",
		Short: "Load statements that images were rebuilt, or list them",
		Long: `Gives the broker the statements in each FILE, or all rebuilt-*.json of a machine
image folder IMAGE, as "image rebuild --sign" writes them. Each must be signed
by the key of a rebuilder. Without words the statements that the broker holds
are listed.`,
		Example: "  holdfast broker rebuilt guest\n  holdfast broker rebuilt alice.json bob.json",
	}
	c.Flags().StringVar(&forget, "forget", "", "ID of a statement to take away")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		if forget != "" {
			if len(args) > 0 {
				return usageError{errors.New("--forget takes one ID, and nothing beside")}
			}
			return a.forgetRebuild(ctx, b, forget)
		}
		if len(args) == 0 {
			return a.listRebuilds(ctx, b)
		}
		files, err := statementFiles(args)
		if err != nil {
			return err
		}
		for _, file := range files {
			raw, err := input.ReadFile(file, input.Document)
			if err == nil {
				err = b.LoadRebuild(ctx, raw)
			}
			if err != nil {
				return fmt.Errorf("load %s: %w", file, err)
			}
		}
		return a.answer(map[string][]string{"loaded": files}, func(w io.Writer) {
			for _, file := range files {
				fmt.Fprintf(w, "loaded %s\n", printable(file))
			}
		})
	})
}

func (a *app) forgetRebuild(ctx context.Context, b *admin.Client, id string) error {
	if err := b.ForgetRebuild(ctx, id); err != nil {
		return fmt.Errorf("forget %.80s: %w", id, err)
	}
	return a.answer(map[string]string{"forgotten": id}, func(w io.Writer) { fmt.Fprintf(w, "forgot %s\n", id) })
}

// statementFiles are the files that words mean: themselves, or those in a
// machine image's folder.
func statementFiles(words []string) ([]string, error) {
	var all []string
	for _, word := range words {
		if referencePath(word) == word {
			all = append(all, word)
			continue
		}
		found, err := wiring.RebuiltFiles(word)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: it has no statement that it was rebuilt", word)
		}
		all = append(all, found...)
	}
	return all, nil
}

func (a *app) listRebuilds(ctx context.Context, b *admin.Client) error {
	list, err := b.Rebuilds(ctx)
	if err != nil {
		return err
	}
	return a.answer(list, func(w io.Writer) {
		for _, r := range list {
			by := strings.Join(r.By, ", ")
			switch {
			case len(r.By) == 0:
				by = "nobody who counts any more"
			case r.Expired:
				by += ", until " + r.Until.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%s\n  image  %s\n  by     %s\n", r.ID, printable(r.UKI), by)
		}
	})
}
