package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/image"
	"holdfast/internal/input"
	"holdfast/internal/oci"
)

func (a *app) brokerRevoke() *cobra.Command {
	var reason string
	var lift bool
	c := &cobra.Command{
		Use:   "revoke IMAGE",
		Short: "Deny a machine image everything, at once, and tell its machines why",
		Long: `Revokes a machine image that the broker knows: machines that run it get nothing
more, tokens that are out included, and are told the reason. It stays revoked
when its reference values are forgotten or signed anew, until --lift. IMAGE is
the folder of the image, its reference.json, an ID as "list" shows it, a UKI's
digest as its --json has it, or a name that only one image has.`,
		Example: "  holdfast broker revoke guest --reason \"redis 7.0.15 gives keys away\"",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&reason, "reason", "", "one line that the machines are told")
	c.Flags().BoolVar(&lift, "lift", false, "take the revocation back")
	c.MarkFlagsMutuallyExclusive("reason", "lift")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		if reason == "" && !lift {
			return usageError{errors.New("--reason says why: machines are told")}
		}
		uki, until, err := knownImage(ctx, b, args[0])
		if err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
		standing := api.ImageStanding{UKI: uki, Until: until}
		word := "lifted"
		if !lift {
			standing.Revoked, word = &api.ImageRevocation{Reason: reason}, "revoked"
		}
		if err := b.SetStanding(ctx, standing); err != nil {
			return fmt.Errorf("revoke %s: %w", args[0], err)
		}
		return a.answer(map[string]string{word: uki}, func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", word, uki) })
	})
}

// knownImage finds the image that a word means, and until when it is trusted.
func knownImage(ctx context.Context, b *admin.Client, word string) (uki string, until *time.Time, err error) {
	list, err := b.Images(ctx)
	if err != nil {
		return "", nil, err
	}
	id := word
	if raw, err := input.ReadFile(referencePath(word), input.Document); err == nil {
		id = string(oci.SHA256(raw))
	}
	found := map[string]*time.Time{}
	for _, i := range list {
		uki := i.Values.UKI
		if uki == "" {
			uki = i.ID
		}
		if i.ID == id || uki == word || i.Values.Image == word {
			found[uki] = i.Until
		}
	}
	if len(found) > 1 {
		return "", nil, fmt.Errorf("%s is the name of %d images: give the ID that \"holdfast broker list\" shows", word, len(found))
	}
	for uki, until := range found {
		return uki, until, nil
	}
	if _, err := sha256Digest(word); err == nil {
		return word, nil, nil // its values were forgotten
	}
	return "", nil, fmt.Errorf("%s is no image that this broker knows", word)
}

func referencePath(word string) string {
	if m, err := image.ReadMachine(word); err == nil {
		return m.ReferencePath()
	}
	return word
}

// endOf reads a time or a day.
func endOf(word string) (*time.Time, error) {
	if word == "" {
		return nil, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		at, err := time.Parse(form, word)
		switch {
		case err != nil:
		case !at.After(time.Now()):
			return nil, usageError{fmt.Errorf("--until %s: that is past", word)}
		default:
			return &at, nil
		}
	}
	return nil, usageError{fmt.Errorf("--until %.40q: want a time as 2027-01-31T12:00:00Z or a day as 2027-01-31", word)}
}

// limit ends trust in the image of reference values at a time.
func limit(ctx context.Context, b *admin.Client, path string, end *time.Time) error {
	if end == nil {
		return nil
	}
	uki, _, err := knownImage(ctx, b, path)
	if err != nil {
		return err
	}
	return b.SetStanding(ctx, api.ImageStanding{UKI: uki, Until: end})
}

// howTrusted says in words what is not plain trust.
func howTrusted(i api.TrustedImage) string {
	var by []string
	for _, who := range i.RebuiltBy {
		by = append(by, who.Name)
	}
	if len(by) > 0 {
		return howLong(i) + "  rebuilt by " + strings.Join(by, ", ")
	}
	return howLong(i)
}

func howLong(i api.TrustedImage) string {
	switch {
	case i.Revoked != nil:
		return fmt.Sprintf("  revoked at %s: %s", i.Revoked.At.Format(time.RFC3339), printable(i.Revoked.Reason))
	case i.Status == api.ImageExpired:
		return "  expired at " + i.Until.Format(time.RFC3339)
	case i.Until != nil:
		return "  until " + i.Until.Format(time.RFC3339)
	}
	return ""
}
