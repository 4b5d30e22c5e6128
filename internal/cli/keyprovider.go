package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/keyprovider"
	"holdfast/internal/wiring"
)

func (a *app) keyProvide() *cobra.Command {
	var listen, keyDir string
	c := &cobra.Command{
		Use:   "provide",
		Short: "Wrap and unwrap the keys of images for skopeo and others (ocicrypt)",
		Long: `Is a key provider of ocicrypt, called attestation-agent: skopeo, buildah and
others have it wrap the keys of the layers that they encrypt, for machines that
the broker trusts, and unwrap those that they decrypt. The broker does both, as
its administrator asks, and what it wraps with never leaves it.

Without --listen it answers one message of standard input on standard output, as
a "cmd" of ocicrypt's configuration. With --listen it serves gRPC: at
unix:///PATH, for its owner alone; at an address of loopback for every user of
this machine, and then it wraps and does not unwrap.

Behind provider:attestation-agent: stands a list of KEY=VALUE with :: between
them. keyid=kbs:///REPOSITORY/TYPE/TAG names the resource that wraps, which is
made when it is absent (default: a new one for each layer); keypath=FILE makes
it of a file of 32 bytes below --key-dir.`,
		Example: "  holdfast key provide --listen unix:///run/holdfast-keys.sock\n" +
			`  echo '{"key-providers":{"attestation-agent":{"cmd":{"path":"holdfast","args":["key","provide"]}}}}' > ocicrypt.conf` + "\n" +
			"  OCICRYPT_KEYPROVIDER_CONFIG=ocicrypt.conf skopeo copy --encryption-key provider:attestation-agent:keyid=kbs:///default/key/x oci:app oci:encrypted",
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&listen, "listen", "", "unix:///PATH or HOST:PORT of loopback: serve gRPC there")
	c.Flags().StringVar(&keyDir, "key-dir", "", "folder whose files clients may name by keypath (default: none)")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, _ []string) (err error) {
		if keyDir != "" {
			if keyDir, err = filepath.Abs(keyDir); err != nil {
				return err
			}
		}
		p := wiring.KeyProvider(b, keyDir)
		if listen == "" {
			return a.provideOnce(ctx, p)
		}
		return a.provide(ctx, p, listen)
	})
}

// provideOnce answers whoever started this program, and that is its owner.
func (a *app) provideOnce(ctx context.Context, p keyprovider.Provider) error {
	p.Unwraps = true
	raw, err := io.ReadAll(io.LimitReader(a.Stdin, keyprovider.MaxMessage))
	if err != nil {
		return err
	}
	answer, err := p.Answer(ctx, raw)
	if err != nil {
		return fmt.Errorf("key provider: %w", err)
	}
	_, err = a.Stdout.Write(answer)
	return err
}

func (a *app) provide(ctx context.Context, p keyprovider.Provider, address string) error {
	l, owner, err := wiring.ListenForKeys(address)
	if err != nil {
		return fmt.Errorf("key provider: %w", err)
	}
	p.Unwraps = owner
	if !owner {
		address = l.Addr().String() // the port may have been picked
	}
	if err := a.answer(map[string]any{"grpc": address, "unwraps": owner}, func(w io.Writer) {
		fmt.Fprintf(w, "key provider %s\n", address)
	}); err != nil {
		return err
	}
	return p.Serve(ctx, l)
}
