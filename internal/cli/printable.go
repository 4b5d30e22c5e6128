package cli

import "holdfast/internal/machine"

// printable takes out of words that came from elsewhere (a registry's answer,
// an image's config) whatever could act on a terminal.
func printable(s string) string { return machine.Printable(s) }
