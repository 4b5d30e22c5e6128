package disks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A Starter starts a program and tells its end, where only one part of the
// process may wait for children: in process 1.
type Starter func(argv []string, attr *os.ProcAttr) (pid int, end <-chan unix.WaitStatus, err error)

// programDirs are searched where there is no PATH.
var programDirs = []string{"/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Run runs a program with its streams in memory.
func (start Starter) Run(ctx context.Context, c Command) ([]byte, error) {
	path, err := findProgram(c.Name)
	if err != nil {
		return nil, err
	}
	files := make([]*os.File, 0, 3+len(c.Secrets))
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, content := range append([][]byte{c.Input, nil, nil}, c.Secrets...) {
		f, err := secretFile(content)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	pid, end, err := start(append([]string{path}, c.Args...), &os.ProcAttr{Dir: "/", Files: slices.Concat(files, c.Files), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	status := awaitEnd(ctx, pid, end)
	stdout, stderr := content(files[1]), content(files[2])
	if status.ExitStatus() != 0 {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("%s: %s: %s", c.Name, ended(status), excerpt(string(stderr)+string(stdout))))
	}
	return stdout, nil
}

func awaitEnd(ctx context.Context, pid int, end <-chan unix.WaitStatus) unix.WaitStatus {
	select {
	case status := <-end:
		return status
	case <-ctx.Done():
		_ = unix.Kill(pid, unix.SIGKILL)
		return <-end
	}
}

// ended says how, as package os does.
func ended(s unix.WaitStatus) string {
	if s.Signaled() {
		return "signal: " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// HasProgram says whether a Starter would find a program.
func HasProgram(name string) bool {
	_, err := findProgram(name)
	return err == nil
}

// Maker is the program that makes a file system.
func Maker(format string) string { return makers[format].program }

func findProgram(name string) (string, error) {
	for _, dir := range programDirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNoProgram)
}

// maxSaid bounds what is read of a program's words.
const maxSaid = 1 << 20

func content(f *os.File) []byte {
	raw, _ := io.ReadAll(io.NewSectionReader(f, 0, maxSaid)) // of memory
	return raw
}
