package cli

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"holdfast/internal/image/transport"
	"holdfast/internal/input"
	"holdfast/internal/login"
	"holdfast/internal/wiring"
)

const referenceHelp = `
References: oci:DIR[:NAME] or a folder (OCI layout), docker-archive:FILE, a
FILE.tar or - (docker save), HOST[:PORT]/NAME[:TAG|@DIGEST] (registry, with the
credentials that "docker login" or "podman login" left).
`

// transportFlags are the flags of verbs that move images.
func (a *app) transportFlags(c *cobra.Command) func() (transport.Options, error) {
	var ca, creds string
	c.Flags().StringVar(&creds, "creds-file", "", "file of credentials for registries, as \"docker login\" and \"podman login\" write it (default: the one that they wrote)")
	c.Flags().StringVar(&ca, "ca", "", "PEM file of a further certificate authority for registries")
	return func() (transport.Options, error) {
		o := transport.Options{
			Stdin: a.Stdin, Progress: a.progress(),
			Keychain: authn.DefaultKeychain, // of "docker login" and "podman login"
			Proxy:    http.ProxyFromEnvironment, Logger: a.logger(), Stall: a.Patience,
			Uploads: filepath.Join(a.state, "uploads"),
		}
		if creds != "" {
			logins, err := login.Open(creds)
			if err != nil {
				return o, fmt.Errorf("credentials: %w", err)
			}
			o.Keychain = logins
		}
		if ca == "" {
			return o, nil
		}
		var err error
		o.CA, err = readCertificates(ca)
		return o, err
	}
}

// imageFlags are those, of verbs that do not go by a machine's architecture.
func (a *app) imageFlags(c *cobra.Command) func() (transport.Options, error) {
	options := a.transportFlags(c)
	arch := c.Flags().String("arch", "", "architecture to take of an image that is for several, as arm64 (default amd64)")
	return func() (transport.Options, error) {
		o, err := options()
		o.Architecture = *arch
		return o, err
	}
}

// readCertificates reads a PEM file that has a certificate at least.
func readCertificates(path string) ([]byte, error) {
	pem, err := input.ReadFile(path, input.Key)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s: no certificate in PEM form is in it", path)
	}
	return pem, err
}

// carryFlag is for verbs that take along what refers to the image.
func carryFlag(c *cobra.Command) func(transport.Options) transport.Options {
	without := c.Flags().Bool("no-referrers", false, "leave behind what refers to the image: its bill of materials, its provenance, its signatures")
	return func(o transport.Options) transport.Options {
		o.Referrers = !*without
		return o
	}
}

func (a *app) imagePush() *cobra.Command { return a.copyVerb("push", "SRC", "REGISTRY-REF") }
func (a *app) imagePull() *cobra.Command { return a.copyVerb("pull", "REGISTRY-REF", "DST") }

// copyVerb is push or pull: the same work, told from the side of the person.
func (a *app) copyVerb(verb, from, to string) *cobra.Command {
	c := &cobra.Command{
		Use:   verb + " " + from + " " + to,
		Short: strings.ToUpper(verb[:1]) + verb[1:] + " an image between a layout or archive and a registry",
		Long: `Copies an image, checking every byte against the digest that names it; what the
destination has is not sent again, and the image takes its name last. What
refers to the image goes along: its bill of materials, its provenance, its
signatures.
` + referenceHelp + `
Exit codes: 0 copied, 1 failed, 2 usage, 3 content does not match its digest.`,
		Args: cobra.ExactArgs(2),
	}
	c.Example = "  holdfast image push oci:redis 127.0.0.1:5000/redis:7"
	if verb == "pull" {
		c.Example = "  holdfast image pull 127.0.0.1:5000/redis:7 oci:redis"
	}
	options, carry := a.imageFlags(c), carryFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		src, dst, err := fromTo(args)
		if err != nil {
			return err
		}
		r, err := transport.Copy(cmd.Context(), src, dst, carry(o))
		if err != nil {
			return err
		}
		return a.answer(r, func(w io.Writer) { fmt.Fprintf(w, "%s: %s, %s\n", r.Reference, r.Digest, size(r.Size)) })
	}
	return c
}

// fromTo reads the references of a verb that makes one image from another.
func fromTo(args []string) (src, dst transport.Ref, err error) {
	if src, err = transport.Parse(args[0]); err != nil {
		return src, dst, usageError{err}
	}
	if dst, err = transport.ParseTarget(args[1]); err != nil {
		return src, dst, usageError{err}
	}
	return src, dst, nil
}

func (a *app) imageInspect() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what an image is made of and who can decrypt it",
		Long:  "Shows an image's digest, layers, encryption, configuration and what refers to\nit, without reading its layers.\n" + referenceHelp + "\nExit codes: 0 shown, 1 failed, 2 usage, 3 content does not match its digest.",
		Example: "  holdfast image inspect oci:redis\n" +
			"  holdfast image inspect --json 127.0.0.1:5000/redis:7",
		Args: cobra.ExactArgs(1),
	}
	options := a.imageFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		ref, err := transport.Parse(args[0])
		if err != nil {
			return usageError{err}
		}
		img, err := transport.Inspect(cmd.Context(), ref, o)
		if err != nil {
			return err
		}
		return a.answer(img, func(w io.Writer) { printImage(w, img) })
	}
	return c
}

func printImage(out io.Writer, img transport.Image) {
	w := &bytes.Buffer{}
	defer func() {
		for line := range strings.Lines(w.String()) {
			fmt.Fprintln(out, printable(line))
		}
	}()
	fmt.Fprintf(w, "%s\n  digest    %s\n  platform  %s\n  size      %s\n", img.Reference, img.Digest, img.Platform, size(img.Size))
	fmt.Fprintf(w, "  runs      %s\n", strings.Join(append(img.Config.Entrypoint, img.Config.Cmd...), " "))
	for _, l := range img.Layers {
		fmt.Fprintf(w, "  layer     %s  %s  %s\n", l.Digest.Short(), size(l.Size), l.MediaType)
		for _, k := range l.Keys {
			fmt.Fprintf(w, "            opens with %s\n", strings.TrimSpace(k.Scheme+" "+k.ID))
		}
		if l.Problem != "" {
			fmt.Fprintf(w, "            %s\n", l.Problem)
		}
	}
	for _, r := range img.Referrers {
		fmt.Fprintf(w, "  referrer  %s  %s  %s\n", r.Digest.Short(), size(r.Size), r.Type)
	}
	if img.Problem != "" {
		fmt.Fprintf(w, "  referrers cannot be listed: %s\n", img.Problem)
	}
}

const encryptHelp = `Encrypts each layer with AES-256-CTR and HMAC-SHA256 in the form that skopeo,
containerd and Confidential Containers read. A recipient is

  jwe:FILE                       the holder of the private key to this public key (PEM)
  kbs:///REPOSITORY/TYPE/TAG     machines to which the broker gives this resource
  kbs                            the same, under a name that is picked
  hsm:///REPOSITORY/TYPE/TAG     machines for which the broker's HSM opens it (broker key)

A kbs key is made and put at this installation's broker. The image's bill of
materials and provenance tell what is inside, so they stay behind unless
--referrers carries them along, readable.
` + referenceHelp + `
Exit codes: 0 encrypted, 1 failed, 2 usage, 3 content does not match its digest,
or the broker refused.`

func (a *app) imageEncrypt() *cobra.Command {
	var recipients []string
	c := &cobra.Command{
		Use:   "encrypt SRC DST --recipient WHO",
		Short: "Encrypt an image's layers for key holders or for a broker's resource",
		Long:  encryptHelp,
		Example: "  holdfast image encrypt oci:redis oci:redis-enc --recipient kbs:///default/key/redis\n" +
			"  holdfast image encrypt redis.tar 127.0.0.1:5000/redis:enc --recipient jwe:alice.pem",
		Args: cobra.ExactArgs(2),
	}
	c.Flags().StringArrayVarP(&recipients, "recipient", "r", nil, "who may decrypt; may be repeated")
	_ = c.MarkFlagRequired("recipient")
	carry := c.Flags().Bool("referrers", false, "carry the bill of materials and the provenance along, readable for everybody")
	options := a.imageFlags(c)
	admin := a.brokerFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := encryption(options, args, recipients)
		if err != nil {
			return err
		}
		e.Options.Referrers = *carry
		broker, err := admin(cmd.Context())
		if err != nil {
			return err
		}
		done, err := wiring.Encrypt(cmd.Context(), broker, e)
		if err != nil {
			return err
		}
		return a.answer(done, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %s\n", done.Reference, done.Digest)
			for _, k := range done.Keys {
				fmt.Fprintf(w, "  opens with %s\n", k)
			}
		})
	}
	return c
}

// encryption reads the words of "image encrypt".
func encryption(options func() (transport.Options, error), args, recipients []string) (e wiring.Encryption, err error) {
	if e.Options, err = options(); err != nil {
		return e, err
	}
	if e.Source, e.Target, err = fromTo(args); err != nil {
		return e, err
	}
	for _, word := range recipients {
		if err := wiring.CheckRecipient(word); err != nil {
			return e, usageError{err}
		}
	}
	e.Recipients = recipients
	return e, nil
}

func (a *app) imageDecrypt() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "decrypt SRC DST --key FILE",
		Short: "Decrypt an image with a private key",
		Long: `Decrypts the layers that are encrypted for the holder of a private key (PEM or
JWK). A layer whose MAC is wrong is refused, and nothing is written.
` + referenceHelp + `
Exit codes: 0 decrypted, 1 failed, 2 usage, 3 content was altered or no key
fits.`,
		Example: "  holdfast image decrypt oci:redis-enc oci:redis --key alice.key",
		Args:    cobra.ExactArgs(2),
	}
	c.Flags().StringArrayVarP(&files, "key", "k", nil, "file of a private key; may be repeated")
	_ = c.MarkFlagRequired("key")
	options, carry := a.imageFlags(c), carryFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		src, dst, err := fromTo(args)
		if err != nil {
			return err
		}
		r, err := wiring.Decrypt(cmd.Context(), src, dst, files, carry(o))
		if err != nil {
			return err
		}
		return a.answer(r, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", r.Reference, r.Digest) })
	}
	return c
}
