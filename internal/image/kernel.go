package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/kmod"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
)

// A kernel is what the boot packages bring.
type kernel struct {
	version string // 6.1.0-56-cloud-amd64
	image   []byte
	stub    []byte
	files   *tree.Tree
}

// modules is where the kernel's modules lie in files.
func (k *kernel) modules() string { return "usr/lib/modules/" + k.version }

// kernel unpacks the boot packages, of which nothing reaches the root.
func (m *machineBuild) kernel(ctx context.Context) (*kernel, error) {
	t := tree.New()
	if err := t.MergeUsr(); err != nil {
		return nil, err
	}
	if err := m.unpack(ctx, "unpack kernel", t, []recipe.Part{{Packages: m.Lock.Boot}}, m.ofKernel); err != nil {
		return nil, err
	}
	found, err := fs.Glob(t.FS("boot"), "vmlinuz-*")
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("kernel package %s: holds %d files /boot/vmlinuz-*, want one", m.Recipe.Machine.Kernel, len(found))
	}
	k := &kernel{version: strings.TrimPrefix(found[0], "vmlinuz-"), files: t}
	if k.image, err = fs.ReadFile(t.FS("boot"), found[0]); err != nil {
		return nil, err
	}
	if k.image, err = unpackKernel(k.image); err != nil {
		return nil, fmt.Errorf("kernel package %s: /boot/%s: %w", m.Recipe.Machine.Kernel, found[0], err)
	}
	stub := m.platform.stub
	if k.stub, err = fs.ReadFile(t.FS(path.Dir(stub)), path.Base(stub)); err != nil {
		return nil, fmt.Errorf("stub package %s: /%s: %w", m.Recipe.Machine.Stub, stub, err)
	}
	return k, nil
}

func (m *machineBuild) ofKernel(name string) bool {
	return strings.HasPrefix(name, "boot/vmlinuz-") || strings.HasPrefix(name, "lib/modules/") ||
		strings.HasPrefix(name, "usr/lib/modules/") || name == m.platform.stub
}

// initramfs packs process 1 and the modules it loads, which are listed in
// load order in /lib/modules/order.
func (m *machineBuild) initramfs(ctx context.Context, k *kernel, init tree.Content) ([]byte, error) {
	t, err := initramfsTree(k, init, m.Recipe.Machine.Modules)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	step := m.Progress.Start("compress initramfs", t.Size(), progress.Bytes)
	var packed bytes.Buffer
	archive, err := newPlain(func(w io.Writer) error { return m.archive(t, w) })
	if err == nil {
		err = m.packed(ctx, &packed, initrdCodec{}, archive, meter{ctx, step})
	}
	if err != nil {
		step.Fail()
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	step.Done(fmt.Sprintf("%.1f MB", float64(packed.Len())/1e6))
	return packed.Bytes(), nil
}

// initramfsTree is what the kernel unpacks into its first root. It opens
// /dev/console for process 1, so that has to be there.
func initramfsTree(k *kernel, init tree.Content, names []string) (*tree.Tree, error) {
	modules, err := kmod.Open(k.files.FS(k.modules()))
	if err != nil {
		return nil, fmt.Errorf("modules of kernel %s: %w", k.version, err)
	}
	chosen, err := modules.Resolve(names...)
	if err != nil {
		return nil, err
	}
	t, dir := tree.New(), "lib/modules/"+k.version
	var order []byte
	for _, c := range chosen {
		content, err := readModule(modules, c)
		if err != nil {
			return nil, err
		}
		if err := t.Put(path.Join(dir, c.Path), &tree.Node{Type: tar.TypeReg, Mode: 0o644, Content: tree.Bytes(content)}); err != nil {
			return nil, err
		}
		order = fmt.Appendf(order, "/%s/%s\n", dir, c.Path)
	}
	for p, n := range map[string]*tree.Node{
		"init":              {Type: tar.TypeReg, Mode: 0o755, Content: init},
		"lib/modules/order": {Type: tar.TypeReg, Mode: 0o644, Content: tree.Bytes(order)},
		"dev/console":       {Type: tar.TypeChar, Mode: 0o600, Major: 5, Minor: 1},
	} {
		if err := t.Put(p, n); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// readModule unpacks a module: process 1 loads it as it is, and it compresses
// better together with the others.
func readModule(from *kmod.Tree, module kmod.Module) ([]byte, error) {
	r, err := from.Open(module)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// initrdCodec packs for the kernel, whose unpacker takes one frame
// (lib/decompress_unzstd.c). The stub measures it and the kernel trusts it, so
// it needs no checksum of its own.
type initrdCodec struct{}

const initrdWindow = 8 << 20

func (initrdCodec) id() string { return zstdID("initrd ", packLevel, initrdWindow) }

func (initrdCodec) pack(_ context.Context, to io.Writer, write func(io.Writer) error) error {
	z, err := zstd.NewWriter(to, zstd.WithEncoderLevel(packLevel), zstd.WithWindowSize(initrdWindow), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return err
	}
	if err := write(z); err != nil {
		return err
	}
	return z.Close()
}

func (initrdCodec) unpackTo(to io.Writer, from io.Reader) error { return unpackZstd(to, from) }

// archive writes t as a cpio archive.
func (m *machineBuild) archive(t *tree.Tree, w io.Writer) error {
	archive := cpio.NewWriter(w, m.Lock.Date)
	for _, p := range t.Paths() {
		if err := archive.Add(cpioEntry(p, t.Lookup(p))); err != nil {
			return err
		}
	}
	return archive.Close()
}

func cpioEntry(p string, n *tree.Node) cpio.Entry {
	switch n.Type {
	case tar.TypeDir:
		return cpio.Dir(p, n.Mode)
	case tar.TypeChar:
		return cpio.Char(p, n.Mode, uint32(n.Major), uint32(n.Minor))
	default:
		return cpio.File(p, n.Mode, n.Content.Size, n.Content.Open())
	}
}

// unpackKernel undoes the gzip that arm64 kernels come in: firmware starts EFI
// programs only.
func unpackKernel(image []byte) ([]byte, error) {
	if !bytes.HasPrefix(image, []byte{0x1f, 0x8b}) {
		return image, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxKernel))
}

const maxKernel = 512 << 20
