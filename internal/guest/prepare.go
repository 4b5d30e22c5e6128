package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// A guest is a Config at work.
type guest struct {
	Config
	registry *registry
	image    *image            // once pulled
	unsealed map[string]string // variables that were sealed secrets, by name
	id       string            // of the container

	// These are of a pod's container alone.
	shared  []shared // volumes
	limit   int64    // of memory; 0: what the machine has
	drop    []string // capabilities
	nonRoot bool
	message string           // path of the file that its host gets
	compare func(spec) error // what the host says of it; nil: nothing is said
}

func newGuest(c Config) (*guest, error) {
	if c.Dir == "" {
		c.Dir = "/run/holdfast"
	}
	if c.Runtime == "" {
		c.Runtime = "/usr/sbin/runc"
	}
	switch {
	case c.HTTP == nil || c.Processes == nil:
		return nil, errors.New("guest: HTTP and Processes are required")
	case c.Broker == nil && len(c.Guest.Secrets) > 0:
		return nil, errors.New("there are secrets, but no broker to ask")
	}
	if err := c.Guest.Check(); err != nil {
		return nil, err
	}
	for _, s := range c.Guest.Secrets {
		if err := checkSecretName(s.Name); err != nil {
			return nil, err
		}
	}
	r, err := newRegistry(c.Guest, c.HTTP, cmp.Or(c.Backoff, backoff))
	return &guest{Config: c, registry: r, id: containerID}, err
}

// A bundle is the folder that runc runs.
type bundle struct{ dir string }

func (b *bundle) path(name string) string { return filepath.Join(b.dir, name) }

// prepare makes the bundle. All that can wait for another part is done beside
// the rest.
func (g *guest) prepare(ctx context.Context) (*bundle, error) {
	if err := g.mountMemory(); err != nil {
		return nil, &Refusal{"pull", err}
	}
	return g.fill(ctx)
}

// fill makes the bundle in a folder that is there.
func (g *guest) fill(ctx context.Context) (*bundle, error) {
	b, secrets := &bundle{dir: g.Dir}, make(map[string][]byte)
	err := together(ctx, g.tryRuntime, func(ctx context.Context) error {
		if err := together(ctx, g.pullManifest, g.attest); err != nil {
			return err
		}
		if g.compare != nil { // before a layer is pulled for nothing
			if err := g.compare(spec{image: g.image.config.Config, process: g.Guest.Process}); err != nil {
				return &Refusal{"run", err}
			}
		}
		return together(ctx,
			func(ctx context.Context) error { return refuse("pull", g.unpack(ctx, b)) },
			func(ctx context.Context) error { return refuse("secrets", g.fetchSecrets(ctx, secrets)) })
	})
	if err != nil {
		return nil, err
	}
	g.Stage("pull", fmt.Sprintf("%d layers verified and unpacked", len(g.image.manifest.Layers)), string(g.image.digest))
	return b, refuse("run", g.writeBundle(b, secrets))
}

func together(ctx context.Context, all ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, f := range all {
		group.Go(func() error { return f(ctx) })
	}
	return group.Wait()
}

// mountMemory mounts the file system that holds the container. Where the
// machine can compress memory, an image may be as large as all of it; else a
// quarter is left for the programs.
func (g *guest) mountMemory() error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	if err := os.MkdirAll(g.Dir, 0o700); err != nil {
		return err
	}
	size := uint64(info.Totalram) * uint64(info.Unit) / 4 * 3
	if info.Totalswap > 0 {
		size *= 2
	}
	if err := unix.Mount("tmpfs", g.Dir, "tmpfs", unix.MS_NODEV, fmt.Sprintf("mode=0700,nr_inodes=0,size=%d", size)); err != nil {
		return fmt.Errorf("mount %s: %w", g.Dir, err)
	}
	return nil
}

func (g *guest) attest(ctx context.Context) error {
	if g.Broker == nil {
		return nil
	}
	if err := g.Broker.Attest(ctx); err != nil {
		return &Refusal{"attest", err}
	}
	g.Stage("attest", "the broker accepted this machine's evidence", "")
	return nil
}

func (g *guest) pullManifest(ctx context.Context) error {
	decision, err := g.registry.settle(ctx)
	if err != nil {
		return refuse("pull", err)
	}
	if decision != nil {
		last := decision.Requirements[len(decision.Requirements)-1]
		g.Stage("signature", decision.Place()+" is fulfilled: "+last.Reason, string(g.registry.digest))
	}
	g.image, err = g.registry.image(ctx)
	return refuse("pull", err)
}

func (g *guest) fetchSecrets(ctx context.Context, into map[string][]byte) error {
	for _, s := range g.Guest.Secrets {
		content, err := g.secret(ctx, s)
		if err != nil {
			return err
		}
		into[s.Name] = content
	}
	var err error
	g.unsealed, err = g.unsealVariables(ctx)
	return err
}

func (g *guest) secret(ctx context.Context, s api.SecretRef) (content []byte, err error) {
	from := s.Resource
	if s.Sealed != "" {
		from = "a sealed secret"
		content, err = g.unseal(ctx, s.Sealed)
	} else {
		content, err = g.Broker.Resource(ctx, s.Resource)
	}
	if err != nil {
		return nil, fmt.Errorf("%s from %s: %w", s.Name, from, err)
	}
	return content, nil
}

func checkSecretName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || name != filepath.Base(name) {
		return fmt.Errorf("secret name %.80q: want a file name", name)
	}
	return nil
}
