package disks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// A Command is a program to run. Each secret becomes a file in memory that
// the program opens by the path SecretPath gives.
type Command struct {
	Name    string
	Args    []string
	Input   []byte
	Secrets [][]byte
	Files   []*os.File // behind the secrets, by the same paths
}

// SecretPath is where a running program finds its i-th secret.
func SecretPath(i int) string { return fmt.Sprintf("/proc/self/fd/%d", 3+i) }

// A Runner runs a program to its end and gives what it printed.
type Runner func(context.Context, Command) ([]byte, error)

// ErrNoProgram says that the image lacks a program that the config needs.
var ErrNoProgram = errors.New("no such program in this image")

// Program runs programs of the PATH.
func Program(ctx context.Context, c Command) ([]byte, error) {
	path, err := exec.LookPath(c.Name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, ErrNoProgram)
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Stdin = bytes.NewReader(c.Input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	for _, secret := range c.Secrets {
		f, err := secretFile(secret)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, c.Files...)
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", c.Name, err, excerpt(stderr.String()+stdout.String()))
	}
	return stdout.Bytes(), nil
}

// secretFile never reaches a disk.
func secretFile(secret []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "secret")
	if _, err := f.WriteAt(secret, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("file in memory: %w", err)
	}
	return f, nil
}

// excerpt is the first and the last of what a program says: one of them is why
// it gave up, between them may be pages of usage.
func excerpt(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) > 4 {
		lines = append(lines[:2:2], lines[len(lines)-2:]...)
	}
	return strings.Join(lines, "; ")
}
