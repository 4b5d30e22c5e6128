package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// A manager is gVisor's, with a start of its own.
type manager struct{ shim.Manager }

// Start starts the process that serves a container, on a socket that containerd
// is told. It runs in the container's bundle.
func (manager) Start(ctx context.Context, id string, opts shim.StartOpts) (none shim.BootstrapParams, err error) {
	address, err := shim.SocketAddress(ctx, opts.Address, id, opts.Debug)
	if err != nil {
		return none, err
	}
	l, err := listen(address)
	if err != nil {
		return none, err
	}
	l.SetUnlinkOnClose(false) // the shim itself removes it
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		return none, err
	}
	defer socket.Close()
	cmd, err := command(ctx, id, opts)
	if err != nil {
		return none, err
	}
	cmd.ExtraFiles = []*os.File{socket}
	// What the shim reads to know which socket to remove.
	if err := os.WriteFile("address", []byte(address), 0o644); err != nil {
		return none, err
	}
	if err := cmd.Start(); err != nil {
		return none, err
	}
	if err := shim.AdjustOOMScore(cmd.Process.Pid); err != nil {
		fmt.Fprintln(os.Stderr, "not kept from being killed early:", err) // some hosts let nobody
	}
	return shim.BootstrapParams{Version: 2, Address: address, Protocol: "ttrpc"}, cmd.Process.Release()
}

// listen takes the socket, from a shim that was killed too.
func listen(address string) (*net.UnixListener, error) {
	l, err := shim.NewSocket(address)
	if err == nil || !shim.SocketEaddrinuse(err) || shim.CanConnect(address) {
		return l, err
	}
	if err := shim.RemoveSocket(address); err != nil {
		return nil, err
	}
	return shim.NewSocket(address)
}

func command(ctx context.Context, id string, opts shim.StartOpts) (*exec.Cmd, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-namespace", ns, "-address", opts.Address, "-id", id}
	if opts.Debug {
		args = append(args, "-debug")
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}
