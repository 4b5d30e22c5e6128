// Package container is the life of process 1 where the machine is a set of
// namespaces on a host: its root, its devices, its link, and the services that it
// keeps running.
//
// All mounts are made in the machine's own mount namespace and its link ends in its
// own network namespace. So the kernel takes all of them away when process 1 ends,
// however it ends. The host's kernel is shared: what a machine sees of its settings it
// cannot change, and nothing here proves anything to anybody.
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// The descriptors that the host hands over, and where the document lies for the
// second stage.
const (
	fdDocument = 3
	fdAnswer   = 4
	keptIn     = "/run/holdfast-machine.json"
	secondWord = "supervise"
	ownPath    = "/usr/sbin/holdfast-node"
	searched   = "/opt/holdfast/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Words says whether args, with the program's name, call this package.
func Words(args []string) (words []string, ok bool) {
	if len(args) < 2 || args[1] != api.ContainerWord {
		return nil, false
	}
	return args[2:], true
}

// Main is process 1: first the stage that makes the machine, then, as a program
// started anew inside it, the one that keeps its services. It returns the exit
// code.
func Main(words []string) int {
	unix.CloseOnExec(fdDocument)
	answer := os.NewFile(fdAnswer, "answer")
	if os.Getpid() != 1 || answer == nil {
		fmt.Fprintln(os.Stderr, "holdfast-node: container: runs as process 1 of a container machine")
		return 2
	}
	var err error
	if len(words) == 1 && words[0] == secondWord {
		unix.CloseOnExec(fdAnswer)
		err = superviseAll(answer)
	} else {
		err = enter()
	}
	if err != nil {
		fmt.Fprintln(answer, err)
		fmt.Fprintln(os.Stderr, "holdfast-node: container:", err)
		return 1
	}
	return 0
}

// enter makes the machine around this process, and starts the program anew in
// it. Namespaces belong to a thread until then.
func enter() error {
	runtime.LockOSThread()
	m, err := told()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("own cgroup namespace: %w", err)
	}
	if err := makeRoot(m); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(m.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := bringUp(m.Link); err != nil {
		return fmt.Errorf("link %s: %w", m.Link.Name, err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keptIn, raw, 0o600); err != nil {
		return err
	}
	env := []string{"PATH=" + searched, "HOME=/root"}
	return fmt.Errorf("start %s: %w", ownPath, unix.Exec(ownPath, []string{"holdfast-node", api.ContainerWord, secondWord}, env))
}

// told waits for the document. The host writes it when all is ready; a host that
// was killed before ends the pipe.
func told() (m api.ContainerMachine, err error) {
	pipe := os.NewFile(fdDocument, "document")
	if pipe == nil {
		return m, errors.New("nobody says what the machine is")
	}
	defer pipe.Close()
	d := json.NewDecoder(io.LimitReader(pipe, maxDocument))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("read what the machine is: %w", err)
	}
	return m, nil
}

const maxDocument = 4 << 20
