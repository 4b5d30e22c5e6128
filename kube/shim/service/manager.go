// Package service is a shim of containerd's (runtime v2): the Sandbox and the Task
// API for one pod, which is one guest machine.
//
// It decides nothing. Containers are as the pod's measured configuration has them, and
// the machine holds every call against that; what it refuses, containerd is told in
// the machine's words.
package service

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// Name is the runtime's, as containerd's configuration has it.
const Name = "io.containerd.holdfast.v2"

// The flag that names the file with a pod.Node, and where it is without one.
const (
	ConfigFlag    = "config"
	DefaultConfig = "/etc/holdfast/pods.json"
)

// A Manager starts the process that serves a pod.
type Manager struct{}

// Name is what containerd calls it in logs.
func (Manager) Name() string { return Name }

// Start starts it, on a socket that containerd is told.
func (Manager) Start(ctx context.Context, p *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	dir := p.GetSocketDir()
	if dir == "" {
		dir = filepath.Join(defaults.DefaultStateDir, "s")
	}
	address, err := shim.CreateSocketAddress(ctx, dir, p.GetContainerdGrpcAddress(), p.GetInstanceID(), false)
	if err != nil {
		return nil, err
	}
	socket, err := listen(address)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	cmd, err := command(ctx, p)
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{socket}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := shim.AdjustOOMScore(cmd.Process.Pid); err != nil {
		fmt.Fprintln(os.Stderr, "not kept from being killed early:", err) // some hosts let nobody
	}
	return &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: address}, cmd.Process.Release()
}

// listen takes the socket, from a shim that was killed too.
func listen(address string) (*os.File, error) {
	l, err := shim.NewSocket(address)
	if err != nil && shim.SocketEaddrinuse(err) && !shim.CanConnect(address) {
		if err = shim.RemoveSocket(address); err == nil {
			l, err = shim.NewSocket(address)
		}
	}
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the shim itself removes it
	defer l.Close()
	return l.File()
}

func command(ctx context.Context, p *bootapi.BootstrapParams) (*exec.Cmd, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-namespace", ns, "-id", p.GetInstanceID(), "-address", p.GetContainerdGrpcAddress()}
	var options runtimeoptions.Options
	if found, err := p.FindExtension(&options); err != nil {
		return nil, err
	} else if found && options.ConfigPath != "" {
		args = append(args, "-"+ConfigFlag, options.ConfigPath)
	}
	cmd := exec.Command(self, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

// Stop tells of a shim that is gone: its machine went with it.
func (Manager) Stop(context.Context, string) (shim.StopStatus, error) {
	return shim.StopStatus{ExitedAt: time.Now(), ExitStatus: 128 + int(syscall.SIGKILL)}, nil
}

// Info tells which runtime this is.
func (Manager) Info(context.Context, io.Reader) (*types.RuntimeInfo, error) {
	return &types.RuntimeInfo{Name: Name}, nil
}
