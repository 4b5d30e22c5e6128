package platform

import (
	"context"
	"os"

	"holdfast/internal/ignition"
)

// file reads a file that is there already: for tests, and for images that carry
// their config.
func file(_ context.Context, c Config, _ ignition.Fetch) ([]byte, error) {
	if c.File == "" {
		c.File = "config.ign"
	}
	return os.ReadFile(c.File)
}
