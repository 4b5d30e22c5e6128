package broker

import (
	"strings"

	"holdfast/internal/attest/initdata"
)

// allowDocument is what an administrator would type to authorise the document.
// Only well-formed paths get into it: it is there to be pasted into a shell.
func allowDocument(d *initdata.Document) string {
	var resources []string
	for _, secret := range d.Config().Secrets {
		if path, err := ParseResource(secret.Resource); err == nil {
			resources = append(resources, string(path))
		}
	}
	return allowCommand(d.Digest, resources)
}

func allowCommand(digest string, resources []string) string {
	if len(resources) == 0 {
		resources = []string{"REPOSITORY/TYPE/TAG"}
	}
	return "holdfast broker allow " + digest + " --resource " + strings.Join(resources, " --resource ")
}
