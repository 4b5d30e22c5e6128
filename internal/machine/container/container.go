// Package container runs machines that are namespaces on this host: mount,
// process, network, host name, IPC and cgroup.
//
// A machine outlives the program that started it. Its identity is its process id
// with the time that process began, so no other process is ever taken for it. What is
// made for it on the host is its cgroups and one end of a link, and for a group of
// machines a bridge and a table of nftables; all of them have names that are derived
// from the group's id, so that whoever knows the id can take them away, whatever was
// killed meanwhile. Everything else goes with the machine's own namespaces.
//
// Container machines share the host's kernel and trust it with everything.
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// A Spec says what machine to start.
type Spec struct {
	Network Network
	Index   int    // of the machine in its network, from 1; names its end of the link
	Program string // holdfast-node on this host
	Log     string // file of what process 1 says
	// Machine is what process 1 is told. Start fills in its cgroups and the
	// name of its link.
	Machine api.ContainerMachine
	// Patience is how long the machine may take to begin; a minute when 0.
	Patience time.Duration
}

// namespaces are all that a machine does not share with its host. The cgroup
// namespace comes later: its root is the group that process 1 is in.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

// Start starts a machine and returns when its services are under way. Begun is told
// who it is before anything is made for it. When Start fails, nothing is left.
func Start(s Spec, begun func(Identity) error) (err error) {
	p, err := spawn(s)
	if err != nil {
		return err
	}
	defer p.close()
	defer func() {
		if err != nil {
			err = errors.Join(err, p.end(), RemoveCgroups(s.Network.ID, s.Machine.Hostname))
		}
	}()
	id, err := identify(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := begun(id); err != nil {
		return err
	}
	groups, err := joinCgroups(s.Network.ID, s.Machine.Hostname, id.PID)
	if err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	s.Machine.Cgroups, s.Machine.Controllers = groups.version, groups.controllers
	s.Machine.Link.Name = insideLink
	if err := s.Network.plug(s.Index, id.PID); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return p.tell(s)
}

// A process is process 1 while it is started.
type process struct {
	cmd      *exec.Cmd
	document *os.File // its end that we write
	answer   *os.File // and the one that we read
}

func spawn(s Spec) (p *process, err error) {
	log, err := os.OpenFile(s.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	theirs, document, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	answer, theirAnswer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, document.Close())
	}
	defer theirAnswer.Close()
	cmd := exec.Command(s.Program, api.ContainerWord)
	cmd.Args[0], cmd.Dir, cmd.Env = "holdfast-node", "/", []string{"PATH=/usr/sbin:/usr/bin"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, theirAnswer}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	p = &process{cmd, document, answer}
	if err := cmd.Start(); err != nil {
		p.close()
		return nil, fmt.Errorf("start %s in namespaces of its own: %w", s.Program, err)
	}
	return p, nil
}

func (p *process) close() {
	_ = p.document.Close()
	_ = p.answer.Close()
	_ = p.cmd.Process.Release()
}

// end kills the machine, and buries process 1, which is our child.
func (p *process) end() error {
	pid := p.cmd.Process.Pid
	_ = p.document.Close()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	bury(pid)
	return nil
}

// tell hands the document over and waits for the answer.
func (p *process) tell(s Spec) error {
	if err := json.NewEncoder(p.document).Encode(s.Machine); err != nil {
		return fmt.Errorf("tell the machine what it is: %w; its log is %s", err, s.Log)
	}
	if err := p.document.Close(); err != nil {
		return err
	}
	patience := s.Patience
	if patience == 0 {
		patience = time.Minute
	}
	if err := p.answer.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(p.answer, 4096))
	if err != nil {
		return fmt.Errorf("the machine said nothing for %v; its log is %s", patience, s.Log)
	}
	if text := strings.TrimSpace(string(said)); text != "" {
		return fmt.Errorf("process 1: %s", text)
	}
	return nil
}

// clean is the last component of a folder's name.
func clean(name string) string { return filepath.Base(filepath.Clean("/" + name)) }
