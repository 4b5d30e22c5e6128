package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/image"
	"holdfast/internal/keys"
	"holdfast/internal/wiring"
)

func (a *app) imageVerbs() *cobra.Command {
	return group("image", "Lock, build, encrypt, sign, move, inspect and compare images", a.imageLock(), a.imageBuild(),
		a.imageEncrypt(), a.imageDecrypt(), a.imagePush(), a.imagePull(), a.imageInspect(), a.imageUnpack(), a.imageDiff(),
		a.imageSBOM(), a.imageRebuild(), a.imageSign(), a.imageVerify())
}

// sourceFlags are the flags of verbs that fetch packages.
func sourceFlags(c *cobra.Command) *wiring.Sources {
	s := &wiring.Sources{}
	c.Flags().StringVar(&s.Mirror, "mirror", "", "archive root to fetch from, as http://HOST/debian (default: the recipe's, then the machine's apt sources)")
	c.Flags().StringVar(&s.Keyring, "keyring", "", "OpenPGP keys that may sign indexes (default: Debian's installed keyring)")
	return s
}

// archFlag is the flag of verbs that can do a recipe for another architecture.
func archFlag(c *cobra.Command) *string {
	return c.Flags().String("arch", "", "Debian architecture, as arm64 (default: the recipe's)")
}

func (a *app) builder(s wiring.Sources) (wiring.Builder, error) {
	dir, err := a.installation()
	s.Stall = a.Patience
	return wiring.Builder{Installation: dir, Sources: s, Progress: a.progress(), Log: a.logger()}, err
}

func (a *app) imageLock() *cobra.Command {
	c := &cobra.Command{
		Use:   "lock RECIPE",
		Short: "Pin a recipe's packages to exact hashes",
		Long: `Reads RECIPE (a recipe.yaml or its folder), resolves its Debian packages from
indexes whose signatures are checked, and writes recipe.lock beside it, or
recipe.ARCH.lock for another architecture than the recipe's.

Exit codes: 0 locked, 1 failed, 2 usage, 3 a signature or digest is wrong.`,
		Example: "  holdfast image lock images/redis\n  holdfast image lock images/redis --arch arm64",
		Args:    cobra.ExactArgs(1),
	}
	sources, arch := sourceFlags(c), archFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := a.builder(*sources)
		if err != nil {
			return err
		}
		lock, path, err := b.Lock(cmd.Context(), args[0], *arch)
		if err != nil {
			return err
		}
		answer := map[string]any{"lock": path, "recipe": lock.Recipe, "date": lock.Date,
			"packages": len(lock.Packages), "boot_packages": len(lock.Boot)}
		return a.answer(answer, func(w io.Writer) {
			fmt.Fprintf(w, "%s: %s of %s %s\n", path, count(len(lock.Packages)+len(lock.Boot), "package"), lock.Suite, lock.Architecture)
		})
	}
	return c
}

func (a *app) imageBuild() *cobra.Command {
	var format, output string
	var unsigned, afresh bool
	c := &cobra.Command{
		Use:   "build RECIPE|LOCK --format oci|machine -o DIR",
		Short: "Build a container image or a machine image from a lock",
		Long: `Builds the image that a lock describes: the same lock gives the same bytes.
No root is needed, nothing is mounted, no package's script runs.

With --format oci DIR becomes an OCI image layout; with --format machine it
holds disk.img, uki.efi, image.json and reference.json. A machine image is
signed with this installation's keys, which are made when there are none.

Exit codes: 0 built, 1 failed, 2 usage, 3 a package does not match its digest,
4 the lock is stale, 5 a tool is not installed.`,
		Example: "  holdfast image build images/redis --format oci -o redis\n  holdfast image build images/guest --format machine -o guest",
		Args:    cobra.ExactArgs(1),
	}
	sources, arch := sourceFlags(c), archFlag(c)
	c.Flags().StringVar(&format, "format", "", "oci or machine (default: what the recipe is for)")
	c.Flags().StringVarP(&output, "output", "o", "", "folder to make")
	c.Flags().BoolVar(&unsigned, "unsigned", false, "leave the image, and what is stated of it, without signatures")
	c.Flags().BoolVar(&afresh, "afresh", false, "make everything anew from packages and sources, whatever earlier builds left in the cache")
	_ = c.MarkFlagRequired("output")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "" && format != "oci" && format != "machine" {
			return usageError{fmt.Errorf("--format %q: want oci or machine", format)}
		}
		b, err := a.builder(*sources)
		if err != nil {
			return err
		}
		b.Unsigned, b.Afresh = unsigned, afresh
		wiring.CollectOften()
		l, err := wiring.LoadLocked(args[0], *arch)
		if err != nil {
			return err
		}
		if format == "" {
			format = "oci"
			if l.Recipe.Machine != nil {
				format = "machine"
			}
		}
		if format == "oci" {
			return a.buildOCI(cmd, b, l, output)
		}
		return a.buildMachine(cmd, b, l, output, unsigned)
	}
	return c
}

func (a *app) buildOCI(cmd *cobra.Command, b wiring.Builder, l wiring.LockedRecipe, dir string) error {
	r, err := b.OCI(cmd.Context(), l, dir)
	if err != nil {
		return err
	}
	return a.answer(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s, %s unpacked, %s stored\n", r.Dir, r.Digest, size(r.Unpacked), size(r.Size))
	})
}

func (a *app) buildMachine(cmd *cobra.Command, b wiring.Builder, l wiring.LockedRecipe, dir string, unsigned bool) error {
	var ring *keys.Ring
	if !unsigned {
		var err error
		if ring, err = b.Installation.Ring(cmd.Context()); err != nil {
			return err
		}
	}
	m, err := b.Machine(cmd.Context(), l, dir, ring)
	if err != nil {
		return err
	}
	return a.answer(m, func(w io.Writer) { printMachine(w, m) })
}

func printMachine(w io.Writer, m *image.Machine) {
	signed := "signed"
	if !m.Signed {
		signed = "unsigned"
	}
	fmt.Fprintf(w, "%s: machine image %s, %s\n", m.Dir, m.Name, signed)
	fmt.Fprintf(w, "  UKI        %s  %s\n", m.UKI.Digest, size(m.UKI.Size))
	fmt.Fprintf(w, "  root hash  %s  %s\n", m.RootHash, size(m.Root.Size))
	fmt.Fprintf(w, "  disk       %s  %s\n", m.Disk.Digest, size(m.Disk.Size))
}
