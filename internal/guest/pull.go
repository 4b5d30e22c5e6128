package guest

import (
	"cmp"
	"context"
)

// Pull does what Run does up to the container's root, which it returns: it
// proves the machine, and pulls, verifies, decrypts and unpacks the image into
// the folder Dir, which is there. It mounts nothing and runs nothing; Processes
// and Stdio are not needed. Its error wraps a *Refusal.
func Pull(ctx context.Context, c Config) (rootfs string, err error) {
	if c.Stage == nil {
		c.Stage = func(string, string, string) {}
	}
	g := &guest{Config: c}
	if g.registry, err = newRegistry(c.Guest, c.HTTP, cmp.Or(c.Backoff, backoff)); err != nil {
		return "", &Refusal{"config", err}
	}
	if err := together(ctx, g.pullManifest, g.attest); err != nil {
		return "", err
	}
	b := &bundle{c.Dir}
	return b.path("rootfs"), refuse("pull", g.unpack(ctx, b))
}
