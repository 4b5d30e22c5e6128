package image

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/api"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/uki"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
)

// MachineOptions are Options with what only machine images have.
type MachineOptions struct {
	Options
	// Keys sign the UKI; without them it stays unsigned, and the predicted
	// PCRs are those of a boot with Secure Boot off.
	Keys *Keys
	// Firmware are the code volumes (OVMF_CODE*.fd) to predict PCRs for.
	Firmware []string
	// Blocks is a file that keeps the root's compressed blocks for the next
	// build, which then is as fast as unpacking. It changes no byte of the
	// image. By default nothing is kept.
	Blocks string
	// Like is the kernel image of an image that is to be built again without
	// its keys: when it is the one built but for its signature, its signature
	// is taken over, so that the disk can be the same too.
	Like []byte
}

// Keys are what a machine's Secure Boot is enrolled with, and the private
// half of db.
type Keys struct {
	Enrolled efivar.Keys
	DB       crypto.Signer
}

// BuildMachine makes a machine image: the folder that
// docs/formats/machine-image.md describes.
func BuildMachine(ctx context.Context, o MachineOptions) (*Machine, error) {
	if o.Recipe == nil || o.Recipe.Machine == nil {
		return nil, errors.New("image: the recipe says nothing of a machine")
	}
	b, err := newBuild(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	defer b.close()
	p, err := platformOf(b.Lock.Architecture)
	if err != nil {
		return nil, err
	}
	f, err := newFolder(o.Output)
	if err != nil {
		return nil, err
	}
	defer f.discard()
	if err := b.Archive.Fetch(ctx, append(b.Lock.Packages[:len(b.Lock.Packages):len(b.Lock.Packages)], b.Lock.Boot...)); err != nil {
		return nil, err
	}
	m, err := (&machineBuild{build: b, folder: f, opts: o, platform: p}).run(ctx)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", b.Recipe.Name, err)
	}
	return m, b.Derived.Prune()
}

// A machineBuild is one machine image being made.
type machineBuild struct {
	*build
	folder   *folder
	opts     MachineOptions
	platform platform
	files    *tree.Tree // of the root
}

func (m *machineBuild) run(ctx context.Context) (*Machine, error) {
	k, initrd, root, err := m.parts(ctx)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	image, err := m.uki(k, initrd, root)
	if err != nil {
		return nil, err
	}
	disk, expected, err := m.diskAndPrediction(ctx, k, image, root)
	if err != nil {
		return nil, err
	}
	described, err := m.describe(expected, k, image, root, disk)
	if err != nil {
		return nil, err
	}
	return described, m.folder.commit()
}

// parts makes kernel and initramfs beside the root: neither needs the other.
func (m *machineBuild) parts(ctx context.Context) (k *kernel, initrd []byte, r *root, err error) {
	boot, system := *m, *m
	boot.build, system.build = m.apart(), m.apart()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		k, initrd, err = boot.boot(ctx)
		return err
	})
	g.Go(func() (err error) {
		r, err = system.root(ctx)
		return err
	})
	err = g.Wait()
	if err != nil && r != nil {
		_ = r.Close()
	}
	m.files = system.files
	m.inventory.join(boot.inventory)
	m.inventory.join(system.inventory)
	return k, initrd, r, err
}

// boot makes what the kernel image is joined of: the kernel's files beside
// process 1.
func (m *machineBuild) boot(ctx context.Context) (*kernel, []byte, error) {
	compile := m.apart()
	var k *kernel
	var init tree.Content
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		k, err = m.kernel(both)
		return err
	})
	g.Go(func() (err error) {
		init, err = compile.program(both, m.Recipe.Machine.Init.Module, m.Recipe.Machine.Init.Package, "init")
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	m.inventory.join(compile.inventory)
	initrd, err := m.initramfs(ctx, k, init)
	return k, initrd, err
}

// diskAndPrediction are both made of the kernel image.
func (m *machineBuild) diskAndPrediction(ctx context.Context, k *kernel, uki []byte, r *root) (d *Disk, values *api.ReferenceValues, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		d, err = m.disk(ctx, uki, r)
		return err
	})
	g.Go(func() (err error) {
		if values, err = m.predict(k, uki); err != nil {
			return fmt.Errorf("reference values: %w", err)
		}
		return nil
	})
	return d, values, g.Wait()
}

// cmdline is the recipe's with the root hash, the one thing that changes with
// every other root.
func (m *machineBuild) cmdline(root *root) string {
	line := "holdfast.roothash=" + root.Hash()
	if m.Recipe.Machine.Cmdline != "" {
		line = m.Recipe.Machine.Cmdline + " " + line
	}
	return line
}

// uki joins stub, kernel, initramfs and command line, signs them when there
// are keys, and writes uki.efi.
func (m *machineBuild) uki(k *kernel, initrd []byte, root *root) ([]byte, error) {
	step := m.Progress.Start("join kernel image", 0, progress.None)
	image, err := uki.Build(k.stub, []uki.Section{
		{Name: uki.OSRelease, Data: m.osRelease()},
		{Name: uki.Cmdline, Data: []byte(m.cmdline(root))},
		{Name: uki.Initrd, Data: initrd},
		{Name: uki.Linux, Data: k.image},
	})
	if err == nil && m.opts.Keys != nil {
		image, err = uki.Sign(image, m.opts.Keys.Enrolled.DB, m.opts.Keys.DB)
	}
	if err == nil {
		image, err = signedLike(image, m.opts.Like)
	}
	if err == nil {
		err = m.folder.writeFile(image, ukiFile)
	}
	if err != nil {
		step.Fail()
		return nil, fmt.Errorf("kernel image: %w", err)
	}
	step.Done(fmt.Sprintf("%.1f MB", float64(len(image))/1e6))
	return image, nil
}

// signedLike is like when image is what it signs, and image otherwise.
func signedLike(image, like []byte) ([]byte, error) {
	if !uki.Signed(like) {
		return image, nil
	}
	want, err := uki.Hash(image)
	if err != nil {
		return nil, err
	}
	if got, err := uki.Hash(like); err != nil || got != want { // foreign bytes: another image, not a failure
		return image, nil
	}
	return like, nil
}

// osRelease tells a boot menu what the image is: os-release(5).
func (m *machineBuild) osRelease() []byte {
	return fmt.Appendf(nil, "ID=holdfast\nNAME=Holdfast\nPRETTY_NAME=\"Holdfast %s\"\nIMAGE_ID=%s\nIMAGE_VERSION=%s\n",
		m.Recipe.Name, m.Recipe.Name, m.Lock.Date.UTC().Format("20060102T150405Z"))
}
