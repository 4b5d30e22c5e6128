package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const network = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "DIR/addresses", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]}
`

const runtimeSettings = `version = 3
root = 'DIR/root'
state = 'DIR/state'
disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri']
[grpc]
address = 'DIR/containerd.sock'
[ttrpc]
address = 'DIR/containerd.sock.ttrpc'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'registry.k8s.io/pause:3.9'
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = 'DIR/registries'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
enable_unprivileged_ports = true
enable_unprivileged_icmp = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['DIR/cni']
conf_dir = 'DIR/network'
`

// containerd starts it, and waits until it answers.
func (r *runtimeTest) containerd(ctx context.Context) (socket string, end func(), err error) {
	dir := r.work
	files := map[string]string{"containerd.toml": runtimeSettings, "network/10-pods.conflist": network}
	for _, host := range elsewhere {
		files["registries/"+host+"/hosts.toml"] = "server = 'http://127.0.0.1:5000'\n\n[host.'http://127.0.0.1:5000']\ncapabilities = ['pull', 'resolve']\n"
	}
	for file, content := range files {
		path := filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(strings.ReplaceAll(content, "DIR", dir)), 0o600)); err != nil {
			return "", nil, err
		}
	}
	for _, folder := range []struct{ name, module string }{{"cni", "cni"}, {"bin", "containerd"}} {
		for _, p := range r.set.Of(folder.module) {
			path := filepath.Join(dir, folder.name, p.Name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(p.Path, path)); err != nil {
				return "", nil, err
			}
		}
	}
	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "bin", "containerd"), "--config", filepath.Join(dir, "containerd.toml"))
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() { _ = cmd.Cancel(); _ = cmd.Wait() }
	socket = filepath.Join(dir, "containerd.sock")
	for range 300 {
		if _, err = os.Stat(socket); err == nil {
			return socket, end, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	end()
	return "", nil, fmt.Errorf("containerd does not listen: %w", err)
}
