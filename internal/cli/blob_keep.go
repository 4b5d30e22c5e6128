package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/progress"
	"holdfast/internal/registry"
)

func (a *app) blobVerify() *cobra.Command {
	var rate string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read every blob again and say which rotted",
		Long: `Reads all blobs of the registry and compares them with their digests. One that
is not what its digest names goes to quarantine (registry/.blobs/quarantine)
and is served no more; a registry that is running looks for it at its peers
and upstreams. Pushing it again mends it, too. Requests go on meanwhile.

Exit codes: 0 all is as it should be, or is again, 1 failed, 2 usage,
3 something rotted and is missing.`,
		Example: "  holdfast blob verify --rate 50M --json",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&rate, "rate", "", "bytes read in a second at most, as 50M (default: as fast as it goes)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg := registry.VerifyConfig{}
		if rate != "" {
			var err error
			if cfg.Rate, err = parseBytes(rate); err != nil {
				return usageError{fmt.Errorf("--rate %w", err)}
			}
		}
		var found *registry.Verified
		err := a.keepBlobs("verify", progress.Bytes, func(k registry.Keeper, seen func(int64)) (err error) {
			cfg.Progress = func(_, bytes int64) { seen(bytes) }
			found, err = k.Verify(cmd.Context(), cfg)
			return err
		})
		if err != nil {
			return err
		}
		if err := a.answer(found, func(w io.Writer) { printScrubbed(w, found) }); err != nil {
			return err
		}
		for _, r := range found.Rotten {
			if !r.Fetched {
				return exitError(exitRefused)
			}
		}
		return nil
	}
	return c
}

func printScrubbed(w io.Writer, v *registry.Verified) {
	for _, r := range v.Rotten {
		state := "in quarantine"
		if r.Fetched {
			state = "fetched again"
		}
		fmt.Fprintf(w, "%s  %s: %s, in %s\n", r.Digest, state, printable(r.Cause), strings.Join(append(r.Repositories, "the pool"), ", "))
	}
	fmt.Fprintf(w, "%d blobs, %d bytes read, %d rotten\n", v.Blobs, v.Bytes, len(v.Rotten))
}

func (a *app) blobGC() *cobra.Command {
	var cfg registry.CollectConfig
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove the blobs that no manifest names",
		Long: `Removes what no manifest of a repository names and "blob add" does not keep:
first a repository's links to it, then the blob that has no link left. What was
pushed, mounted or asked for within the grace is spared. Requests go on
meanwhile. With --untagged manifests go too that no tag leads to, by themselves
or by an index, and that are about nothing that stays.

Exit codes: 0 removed, 1 failed, 2 usage.`,
		Example: "  holdfast blob gc --dry-run\n  holdfast blob gc --untagged --grace 24h",
		Args:    cobra.NoArgs,
	}
	c.Flags().BoolVar(&cfg.DryRun, "dry-run", false, "only count")
	c.Flags().BoolVar(&cfg.Untagged, "untagged", false, "manifests without a tag, too")
	c.Flags().DurationVar(&cfg.Grace, "grace", time.Hour, "time for which what came is spared")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if cfg.Grace < 0 {
			return usageError{fmt.Errorf("--grace %v: want no less than 0", cfg.Grace)}
		}
		var did *registry.Collected
		err := a.keepBlobs("gc", progress.Items, func(k registry.Keeper, seen func(int64)) (err error) {
			cfg.Progress = seen
			did, err = k.Collect(cmd.Context(), cfg)
			return err
		})
		if err != nil {
			return err
		}
		return a.answer(did, func(w io.Writer) { printCollected(w, did) })
	}
	return c
}

func printCollected(w io.Writer, c *registry.Collected) {
	verb := "removed"
	if c.DryRun {
		verb = "would remove"
	}
	for _, name := range c.Skipped {
		fmt.Fprintf(w, "%s: left as it is, since a manifest of it cannot be read\n", name)
	}
	fmt.Fprintf(w, "%s %d blobs of %d bytes, and %d links and %d manifests of %d repositories; %d blobs of %d bytes stay\n",
		verb, c.Blobs, c.Bytes, c.Links, c.Manifests, c.Repositories, c.Kept, c.KeptBytes)
}

// keepBlobs runs what keeps the registry's folder in order, and shows how far
// it has come.
func (a *app) keepBlobs(name string, unit progress.Unit, do func(k registry.Keeper, seen func(int64)) error) error {
	dir, err := a.installation()
	if err != nil {
		return err
	}
	step, last := a.progress().Start(name, 0, unit), int64(0)
	err = dir.KeepBlobs(func(k registry.Keeper) error {
		return do(k, func(now int64) {
			step.Add(now - last)
			last = now
		})
	})
	if err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}
