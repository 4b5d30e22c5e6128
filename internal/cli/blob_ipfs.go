package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/oci"
	"holdfast/internal/wiring"
)

// withBlobs runs what a verb does with the installation's blobs.
func (a *app) withBlobs(do func(b *wiring.Blobs) error) error {
	dir, err := a.installation()
	if err != nil {
		return err
	}
	b, err := dir.Blobs("", a.logger())
	if err != nil {
		return err
	}
	defer b.Close()
	err = do(b)
	if name := (*wiring.BlobNameError)(nil); errors.As(err, &name) {
		return usageError{err}
	}
	return err
}

func (a *app) blobCID() *cobra.Command {
	return &cobra.Command{
		Use:   "cid DIGEST|FILE",
		Short: "Print the IPFS name of a blob or a file",
		Long: `Prints the content identifier of a blob of the registry, or of a file as it
would have as a blob: up to 2 MiB the digest itself as a raw CID, above that
the root of its UnixFS DAG of profile unixfs-v1-2025, as other programs make it.

Exit codes: 0 printed, 1 failed, 2 usage, 3 the blob is not what it is called.`,
		Example: "  holdfast blob cid layer.tar.gz\n  ipfs cat $(holdfast blob cid sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08)",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(i wiring.BlobInfo, err error) error {
				if err != nil {
					return err
				}
				return a.answer(i, func(w io.Writer) { fmt.Fprintln(w, i.CID) })
			}
			if _, err := oci.ParseDigest(args[0]); err != nil {
				return show(wiring.DescribeFile(cmd.Context(), args[0], a.progress()))
			}
			return a.withBlobs(func(b *wiring.Blobs) error { return show(b.Stat(cmd.Context(), args[0])) })
		},
	}
}

func (a *app) blobAdd() *cobra.Command {
	return &cobra.Command{
		Use:   "add FILE",
		Short: "Make a blob of a file",
		Long: `Makes a blob of FILE and prints its digest and its CID. It is served as any
blob of the registry and stays although no repository names it.

Exit codes: 0 added, 1 failed, 2 usage.`,
		Example: "  holdfast blob add disk.img",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBlobs(func(b *wiring.Blobs) error {
				i, err := b.Add(cmd.Context(), args[0], a.progress())
				if err != nil {
					return err
				}
				return a.answer(i, func(w io.Writer) { fmt.Fprintf(w, "%s\n%s\n", i.Digest, i.CID) })
			})
		},
	}
}

func (a *app) blobCat() *cobra.Command {
	return &cobra.Command{
		Use:   "cat DIGEST|CID",
		Short: "Write a blob to standard output",
		Long: `Writes the bytes of a blob, or of the UnixFS file that a CID is the root of.
They are checked while they are written: what came is right only if the exit
code is 0.

Exit codes: 0 all came, 1 failed, 2 usage, 3 the blob is not what its name says.`,
		Example: "  holdfast blob cat sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 > layer",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBlobs(func(b *wiring.Blobs) error { return b.Copy(cmd.Context(), args[0], a.Stdout) })
		},
	}
}

func (a *app) blobStat() *cobra.Command {
	return &cobra.Command{
		Use:   "stat DIGEST|CID",
		Short: "Describe a blob",
		Long: `Prints a blob's digest, CID and size, how many names it has on the disk (the
pool's own, one for each repository, one if "blob add" keeps it), and the CID
by which peers announce it.

Exit codes: 0 printed, 1 failed, 2 usage, 3 the blob is not what it is called.`,
		Example: "  holdfast blob stat sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBlobs(func(b *wiring.Blobs) error {
				i, err := b.Stat(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.answer(i, func(w io.Writer) {
					fmt.Fprintf(w, "digest     %s\ncid        %s\nannounced  %s\nsize       %d\nlinks      %d\n", i.Digest, i.CID, i.DigestCID, i.Size, i.Links)
				})
			})
		},
	}
}

func (a *app) blobImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE.car",
		Short: "Take in the blocks of a CAR file",
		Long: `Makes a blob of every block of a CAR file (version 1 or 2) and prints its roots.
The gateway and peers serve them. Each block is hashed; what came before a bad
one stays.

Exit codes: 0 imported, 1 failed, 2 usage, 3 a block is not what its CID names.`,
		Example: "  ipfs dag export bafybei… > site.car; holdfast blob import site.car",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withBlobs(func(b *wiring.Blobs) error {
				in, err := b.Import(cmd.Context(), args[0], a.progress())
				if err != nil {
					return err
				}
				roots := []string{}
				for _, c := range in.Roots {
					roots = append(roots, c.String())
				}
				answer := map[string]any{"roots": roots, "blocks": in.Blocks, "bytes": in.Bytes}
				return a.answer(answer, func(w io.Writer) {
					for _, c := range roots {
						fmt.Fprintln(w, c)
					}
				})
			})
		},
	}
}

func (a *app) blobDrop() *cobra.Command {
	return &cobra.Command{
		Use:   "drop DIGEST|CID",
		Short: "No longer keep a blob that was added",
		Long: `Lets go of a blob that "blob add" or "blob import" keeps: a collection takes
it once no repository names it.

Exit codes: 0 dropped, 1 failed (also when it was not kept), 2 usage.`,
		Example: "  holdfast blob drop sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withBlobs(func(b *wiring.Blobs) error {
				if err := b.Drop(args[0]); err != nil {
					return err
				}
				return a.answer(map[string]any{"dropped": args[0]}, func(io.Writer) {})
			})
		},
	}
}
