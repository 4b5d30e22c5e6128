package image

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"holdfast/internal/boot/verity"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A root is a squashfs without a name and the hash tree over it.
type root struct {
	*os.File
	size   int64
	digest oci.Digest
	verity *verity.Tree
}

// Hash is the verity root hash in hex.
func (r *root) Hash() string { return hex.EncodeToString(r.verity.Root[:]) }

// root composes the tree, makes a squashfs of it and hashes that.
func (m *machineBuild) root(ctx context.Context) (*root, error) {
	path := m.folder.path("root.squashfs")
	if err := m.squash(ctx, path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &root{File: f}
	if err := m.hash(ctx, r); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("verity: %w", err)
	}
	return r, os.Remove(path)
}

func (o MachineOptions) sqfstar() (string, error) {
	name := cmp.Or(o.Sqfstar, "sqfstar")
	tool, err := exec.LookPath(name)
	if err != nil {
		return "", &MissingToolError{Tool: name, Install: "apt-get install squashfs-tools"}
	}
	return tool, nil
}

// sqfstarVersion is what other bytes of the same files come from, when the
// keys and the lock are the same.
func (o MachineOptions) sqfstarVersion(ctx context.Context) (string, error) {
	tool, err := o.sqfstar()
	if err != nil {
		return "", err
	}
	out, _ := exec.CommandContext(ctx, tool, "-version").Output() // its exit code varies
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), nil
}

// squash feeds the tree to sqfstar, with everything fixed that it would take
// from the clock or the environment (SOURCE_DATE_EPOCH).
func (m *machineBuild) squash(ctx context.Context, path string) error {
	t, err := m.tree(ctx)
	if err != nil {
		return err
	}
	m.files = t
	tool, err := m.opts.sqfstar()
	if err != nil {
		return err
	}
	date := strconv.FormatInt(m.Lock.Date.Unix(), 10)
	cmd := exec.CommandContext(ctx, tool, "-quiet", "-no-progress", "-exit-on-error", "-mem", "256M",
		"-comp", "zstd", "-all-time", date, "-mkfs-time", date,
		"-root-mode", "0755", "-root-uid", "0", "-root-gid", "0", path)
	cmd.Env = []string{"LC_ALL=C"}
	var problems bytes.Buffer
	cmd.Stderr = &problems
	step := m.Progress.Start("compress root", t.Size(), progress.Bytes)
	err = feed(cmd, func(w io.Writer) error { return t.WriteTar(io.MultiWriter(w, meter{ctx, step}), m.Lock.Date) })
	if err != nil {
		step.Fail()
		return fmt.Errorf("sqfstar: %w: %s", err, strings.TrimSpace(problems.String()))
	}
	step.Done("")
	return nil
}

// feed runs cmd with what write writes as its standard input. When the
// command gives up, its own failure is the one to tell.
func feed(cmd *exec.Cmd, write func(io.Writer) error) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	writeErr := write(in)
	closeErr := in.Close()
	return cmp.Or(cmd.Wait(), writeErr, closeErr)
}

// hash makes the hash tree. The salt comes from the recipe: it only has to
// differ between images, not to be secret.
func (m *machineBuild) hash(ctx context.Context, r *root) error {
	info, err := r.Stat()
	if err != nil {
		return err
	}
	r.size = info.Size()
	step := m.Progress.Start("hash root", r.size, progress.Bytes)
	salt, err := hex.DecodeString(m.Lock.Recipe.Hex())
	if err != nil {
		return err
	}
	sum := sha256.New()
	data := io.TeeReader(r.File, io.MultiWriter(sum, meter{ctx, step}))
	if r.verity, err = verity.Build(data, verity.Params{Salt: salt}); err != nil {
		step.Fail()
		return err
	}
	r.digest = sumOf(sum)
	step.Done(r.Hash()[:12])
	_, err = r.Seek(0, io.SeekStart)
	return err
}
