package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/image/diff"
)

func (a *app) imageDiff() *cobra.Command {
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what differs between two images, by section, package and file",
		Long: `Compares two OCI images, or the folders of two machine images, and lists what
differs: sections (layers and settings, or UKI sections, partitions and PCRs),
packages, and files by content, mode, owner, link target, device, extended
attributes and time. Encrypted layers are compared by their digest.
` + referenceHelp + `
Exit codes: 0 the same bytes, 1 different, 2 usage, or an image cannot be read.`,
		Example: "  holdfast image diff oci:redis 127.0.0.1:5000/redis:7\n  holdfast image diff guest guest.old",
		Args:    cobra.ExactArgs(2),
	}
	options := a.imageFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return troubleError{err}
		}
		r, err := diff.Images(cmd.Context(), args[0], args[1], diff.Options{Transport: o, Progress: a.progress()})
		if err != nil {
			return troubleError{err}
		}
		if err := a.answer(r, func(w io.Writer) { printDiff(w, r) }); err != nil {
			return troubleError{err}
		}
		if !r.Equal {
			return exitError(1)
		}
		return nil
	}
	return c
}

// A troubleError is a failure of a verb whose exit code 1 is an answer.
type troubleError struct{ error }

func (e troubleError) Unwrap() error { return e.error }

func printDiff(w io.Writer, r *diff.Report) {
	if r.Equal {
		fmt.Fprintf(w, "the same: %s\n", r.A.Digest)
		return
	}
	fmt.Fprintf(w, "--- %s  %s\n+++ %s  %s\n", r.A.Reference, r.A.Digest, r.B.Reference, r.B.Digest)
	printChanges(w, "sections", r.Sections)
	printChanges(w, "packages", r.Packages)
	if len(r.Files) > 0 {
		fmt.Fprintf(w, "files (%d):\n", len(r.Files))
	}
	for _, f := range r.Files {
		printFileChange(w, f)
	}
	for _, note := range r.Opaque {
		fmt.Fprintf(w, "note: %s\n", note)
	}
}

func printChanges(w io.Writer, what string, list []diff.Change) {
	if len(list) > 0 {
		fmt.Fprintf(w, "%s (%d):\n", what, len(list))
	}
	for _, c := range list {
		switch {
		case c.A == "":
			fmt.Fprintf(w, "  + %s: %s\n", c.Name, oneLine(c.B))
		case c.B == "":
			fmt.Fprintf(w, "  - %s: %s\n", c.Name, oneLine(c.A))
		default:
			fmt.Fprintf(w, "  ~ %s: %s\n%*s -> %s\n", c.Name, oneLine(c.A), len(c.Name)+2, "", oneLine(c.B))
		}
	}
}

func oneLine(s string) string { return printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")) }

func printFileChange(w io.Writer, c diff.FileChange) {
	path := printable(c.Path)
	switch {
	case c.A == nil:
		fmt.Fprintf(w, "  + /%s (%s)\n", path, fileFacts(c.B))
	case c.B == nil:
		fmt.Fprintf(w, "  - /%s (%s)\n", path, fileFacts(c.A))
	default:
		var facts []string
		for _, what := range c.What {
			facts = append(facts, what+" "+fileFact(c.A, what)+" -> "+fileFact(c.B, what))
		}
		fmt.Fprintf(w, "  ~ /%s (%s)\n", path, strings.Join(facts, ", "))
	}
}

func fileFacts(f *diff.File) string {
	facts := f.Type + " " + f.Mode + " " + fileFact(f, "owner")
	switch {
	case f.Type == "file":
		facts += ", " + size(f.Size)
	case f.Target != "":
		facts += " to " + printable(f.Target)
	}
	return facts
}

func fileFact(f *diff.File, what string) string {
	switch what {
	case "type":
		return f.Type
	case "content":
		return fmt.Sprintf("%s of %d bytes", f.Digest.Short(), f.Size)
	case "mode":
		return f.Mode
	case "owner":
		return fmt.Sprintf("%d:%d", f.UID, f.GID)
	case "target":
		return printable(f.Target)
	case "device":
		return f.Device
	case "xattrs":
		return fmt.Sprintf("%q", f.Xattrs)
	}
	return f.Time.Format("2006-01-02T15:04:05.999999999Z")
}
