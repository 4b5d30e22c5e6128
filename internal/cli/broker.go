package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/enc"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/wiring"
)

func (a *app) brokerVerbs() *cobra.Command {
	return group("broker", "Say what the broker releases to whom",
		a.brokerTrust(), a.brokerLaunched(), a.brokerDistrust(), a.brokerRevoke(),
		a.brokerRebuilders(), a.brokerRebuilt(), a.brokerRequire(), a.brokerWhere(),
		a.brokerAllow(), a.brokerWithdraw(),
		a.brokerSet(), a.brokerDelete(), a.brokerList(),
		a.brokerPolicies(), a.brokerWhatIf(), a.brokerDecisions(),
		a.brokerAudit(), a.brokerProofs(),
		a.brokerHistory(), a.brokerRollback(),
		a.brokerCheck(), a.brokerBackup(), a.brokerRestore(),
		a.brokerRotate(), a.brokerHSM(), a.brokerKey(), a.brokerAdmin(), a.brokerPage())
}

// brokerFlags give the broker to administer: the installation's own, in this
// process, or a served one.
func (a *app) brokerFlags(c *cobra.Command) func(context.Context) (*admin.Client, error) {
	var at string
	c.Flags().StringVar(&at, "broker", "", "URL of a broker that is served elsewhere (default: this installation's own)")
	deputy := deputyFlags(c)
	return func(ctx context.Context) (*admin.Client, error) {
		if err := checkBrokerURL(at); err != nil {
			return nil, usageError{err}
		}
		who, err := deputy(at)
		if err != nil {
			return nil, usageError{err}
		}
		if who.Root != "" {
			return who.Remote(at)
		}
		dir, err := a.installation()
		if err != nil {
			return nil, err
		}
		ring, err := dir.Ring(ctx)
		if err != nil {
			return nil, err
		}
		client, err := administer(dir, ring, at)
		if err != nil || who.Key == "" {
			return client, err
		}
		return client, who.Take(client)
	}
}

func administer(dir wiring.Installation, ring *keys.Ring, at string) (*admin.Client, error) {
	if at != "" {
		return dir.RemoteAdmin(ring, at)
	}
	return dir.Admin(ring)
}

// checkBrokerURL keeps secrets off networks that others read.
func checkBrokerURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err == nil && u.Host != "" {
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()) {
			return nil
		}
	}
	return fmt.Errorf("--broker %q: want https://HOST:PORT (http:// on loopback only)", text)
}

// resource reads REPOSITORY/TYPE/TAG, also with kbs:/// before it.
func resource(word string) (string, error) {
	path := strings.TrimPrefix(word, "kbs:///")
	if enc.CheckKID("kbs:///"+path) != nil {
		return "", usageError{fmt.Errorf("resource %.80q: want REPOSITORY/TYPE/TAG", word)}
	}
	return path, nil
}

// brokerVerb is a verb that asks the broker one thing.
func (a *app) brokerVerb(c *cobra.Command, do func(ctx context.Context, b *admin.Client, args []string) error) *cobra.Command {
	c.Long += "\n\nExit codes: 0 done, 1 failed, 2 usage, 3 the broker refused."
	broker := a.brokerFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := broker(cmd.Context())
		if err != nil {
			return err
		}
		defer b.Close()
		return do(cmd.Context(), b, args)
	}
	return c
}

func (a *app) brokerTrust() *cobra.Command {
	var until string
	c := &cobra.Command{
		Use:     "trust IMAGE|FILE",
		Short:   "Trust a machine image by its signed reference values",
		Long:    "Trusts the reference values in FILE, or in reference.json of the machine image\nfolder IMAGE. Their signature must be by a key that this installation's root\ncertifies. With --until they are good until then; values may say so themselves.\n\nThe broker is told what the image is made of, too, by the bill of materials that\nits signed provenance names: for \"broker where\".",
		Example: "  holdfast broker trust guest\n  holdfast broker trust guest/reference.json --broker https://broker.example:8080",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&until, "until", "", "time (2027-01-31T12:00:00Z) or day (2027-01-31) at which trust ends")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		end, err := endOf(until)
		if err != nil {
			return err
		}
		path := referencePath(args[0])
		raw, err := input.ReadFile(path, input.Document)
		if err != nil {
			return fmt.Errorf("trust: %w", err)
		}
		if err := b.Trust(ctx, raw); err != nil {
			return fmt.Errorf("trust %s: %w", args[0], err)
		}
		if err := limit(ctx, b, path, end); err != nil {
			return fmt.Errorf("trust %s: %w", args[0], err)
		}
		answer := map[string]string{"trusted": path}
		if err := wiring.LoadContents(ctx, b, args[0]); err != nil { // which decides nothing
			answer["unknown_contents"] = err.Error()
		}
		return a.answer(answer, func(w io.Writer) {
			fmt.Fprintf(w, "trusted %s\n", path)
			if why, ok := answer["unknown_contents"]; ok {
				fmt.Fprintf(w, "  not known to \"broker where\": %s\n", printable(why))
			}
		})
	})
}

func (a *app) brokerAllow() *cobra.Command {
	var resources []string
	c := &cobra.Command{
		Use:     "allow DIGEST --resource PATH…",
		Short:   "Authorise a machine's configuration to have resources",
		Long:    "Authorises the configuration (init-data document) with the digest sha256:… to\nbe given the named resources and no others. Authorising it again replaces the\nlist.",
		Example: "  holdfast broker allow sha256:9ab0… --resource default/key/redis --resource redis/secret/password",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringArrayVar(&resources, "resource", nil, "REPOSITORY/TYPE/TAG; may be repeated")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		if _, err := sha256Digest(args[0]); err != nil {
			return err
		}
		paths := make([]string, len(resources))
		for i, word := range resources {
			var err error
			if paths[i], err = resource(word); err != nil {
				return err
			}
		}
		if err := b.Allow(ctx, args[0], paths); err != nil {
			return fmt.Errorf("allow %s: %w", args[0], err)
		}
		return a.answer(map[string]any{"configuration": args[0], "resources": paths}, func(w io.Writer) {
			fmt.Fprintf(w, "authorised %s for %d resources\n", args[0], len(resources))
		})
	})
}

func (a *app) brokerSet() *cobra.Command {
	var replace bool
	c := &cobra.Command{
		Use:     "set PATH FILE",
		Short:   "Store a secret",
		Long:    "Stores the content of FILE (- for standard input) as the resource\nREPOSITORY/TYPE/TAG. One that is there is replaced only if --replace is given.",
		Example: "  holdfast broker set redis/secret/password password.txt",
		Args:    cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&replace, "replace", false, "replace the resource that is there")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		path, err := resource(args[0])
		if err != nil {
			return err
		}
		value, err := a.readFile(args[1])
		if err != nil {
			return fmt.Errorf("set %s: %w", path, err)
		}
		if err := store(ctx, b, path, value, replace); err != nil {
			return fmt.Errorf("set %s: %w", path, err)
		}
		return a.answer(map[string]string{"resource": path}, func(w io.Writer) { fmt.Fprintf(w, "stored %s\n", path) })
	})
}

func (a *app) readFile(path string) ([]byte, error) {
	if path == "-" {
		return input.ReadAll(a.Stdin, input.Secret)
	}
	return input.ReadFile(filepath.Clean(path), input.Secret)
}

func (a *app) brokerList() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List resources, trusted images and authorised configurations",
		Long:    "Lists the names of resources (never their values), the trusted machine images by\nthe ID of their reference values, and the authorised configurations.",
		Example: "  holdfast broker list --json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, b *admin.Client, _ []string) error {
		resources, err := b.Resources(ctx)
		if err != nil {
			return err
		}
		images, err := b.Images(ctx)
		if err != nil {
			return err
		}
		configurations, err := b.Configurations(ctx)
		if err != nil {
			return err
		}
		answer := map[string]any{"resources": resources, "images": images, "configurations": configurations}
		return a.answer(answer, func(w io.Writer) {
			for _, r := range resources {
				fmt.Fprintf(w, "resource       %s\n", r)
			}
			for _, i := range images {
				fmt.Fprintf(w, "image          %s  %s%s\n", i.Values.Image, i.ID, howTrusted(i))
			}
			for _, c := range configurations {
				fmt.Fprintf(w, "configuration  %s  may have %d resources\n", c.Digest, len(c.Resources))
			}
		})
	})
}

func (a *app) brokerAudit() *cobra.Command {
	c := a.brokerVerb(&cobra.Command{
		Use:     "audit",
		Short:   "Print the audit log: one JSON line for each decision",
		Long:    "Prints the audit log, oldest first, as JSON lines with or without --json. It\nholds no secret.",
		Example: "  holdfast broker audit | jq 'select(.decision == \"refuse\")'",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, b *admin.Client, _ []string) error {
		log, err := b.Audit(ctx)
		if err != nil {
			return err
		}
		defer log.Close()
		_, err = io.Copy(a.Stdout, log)
		return err
	})
	c.AddCommand(a.brokerAuditVerify())
	return c
}
