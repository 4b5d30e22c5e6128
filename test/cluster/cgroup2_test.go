package cluster

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/cluster/components"
	"holdfast/internal/machine/machinetest"
)

// hostModules are what distributions have loaded, or load when it is asked for,
// of what nodes use.
var hostModules = []string{"virtio_pci", "virtio_blk", "virtio_net", "ext4", "overlay", "bridge", "br_netfilter", "veth", "vxlan", "tun",
	"nf_tables", "nft_ct", "nft_chain_nat", "nft_masq", "nft_redir", "nft_nat", "nft_reject_ipv4", "nft_reject_inet", "nft_fib_ipv4", "nft_fib_inet", "nft_numgen", "nft_hash",
	"nft_limit", "nft_log", "nf_conntrack_netlink", "xt_conntrack", "ip_tables"}

// Most people have control groups of version 2, and a kernel of Debian's kind; the
// machine that tests run on may have neither. So a host that has them makes the
// cluster: its clock counts instructions, since Kubernetes has limits of time that
// an emulated processor does not keep.
func TestAClusterRunsOnControlGroupsOfVersion2(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("boots a machine that makes a cluster, for a quarter of an hour: run make soak")
	}
	l := newLab(t)
	l.create("test-parts") // builds what is not there yet
	l.run(l.holdfast, "cluster", "delete", "test-parts")
	kernel, modules := machinetest.Kernel(t)
	said := l.bootHost(kernel, l.hostInitrd(modules), l.hostDisk())
	for _, want := range []string{
		"1 of version 2, controllers cpuset cpu io memory hugetlb pids", "created", "node v2-1 True", "running",
		"bounded: memory 50331648, cpu 25000 100000", "components: may swap 0", "tested", "deleted", "afterwards: cgroups 0, links 0, tables 0, mounts 0",
	} {
		if !strings.Contains(said, "host: "+want) {
			t.Errorf("the host does not say %q", want)
		}
	}
	if strings.Contains(said, "now: cgroups 0") {
		t.Error("the host finds no control groups while there is a cluster: it would find none that are left")
	}
}

func (l *lab) hostInitrd(modules string) string {
	l.Helper()
	busybox, err := exec.LookPath("busybox")
	check(l.TB, err)
	raw, err := os.ReadFile(busybox)
	check(l.TB, err)
	init, err := os.ReadFile("testdata/host/init")
	check(l.TB, err)
	files := append(machinetest.Modules(l.TB, modules, hostModules...), cpio.File("busybox", 0o755, int64(len(raw)), bytes.NewReader(raw)))
	packed, err := machinetest.Initrd(init, files...)
	check(l.TB, err)
	at := filepath.Join(l.TempDir(), "initrd")
	check(l.TB, os.WriteFile(at, packed, 0o600))
	return at
}

// hostDisk has a node's packages, a checkout with its programs, and what was built
// of it.
func (l *lab) hostDisk() string {
	l.Helper()
	dir := filepath.Join(l.TempDir(), "root")
	put := func(from, to string) {
		l.Helper()
		to = filepath.Join(dir, to)
		check(l.TB, os.MkdirAll(filepath.Dir(to), 0o755))
		l.run("cp", "-a", from, to)
	}
	made := func(image string) []string {
		all, _ := filepath.Glob(filepath.Join(l.state, "images", image+"-[0-9a-f][0-9a-f]*"))
		return all
	}
	put(made("node")[0], ".")
	busybox, err := exec.LookPath("busybox")
	check(l.TB, err)
	put(busybox, "busybox")
	l.run("chroot", dir, "/busybox", "--install", "-s", "/bin")
	put("testdata/host/work", "work")
	l.run("go", "test", "-trimpath", "-c", "-o", filepath.Join(dir, "container.test"), "holdfast/internal/node/container")
	for _, part := range []string{"bin", "images", "kube"} {
		put(filepath.Join(root, part), filepath.Join("holdfast", part))
	}
	golang := strings.TrimSpace(l.run("go", "env", "GOROOT"))
	put(filepath.Join(golang, "bin", "go"), "usr/local/go/bin/go")
	check(l.TB, os.MkdirAll(filepath.Join(dir, "usr/local/go/pkg/tool"), 0o755))
	set, err := components.Build(l.Context(), components.Config{Source: filepath.Join(root, "kube"), Dir: filepath.Join(l.state, "kube")})
	check(l.TB, err)
	for _, p := range set {
		built := filepath.Dir(p.Path)
		if to := filepath.Join("state/kube", filepath.Base(built)); !exists(filepath.Join(dir, to)) {
			put(built, to)
		}
	}
	for _, name := range []string{"node", "pause", "coredns", "metrics-server"} {
		for _, m := range made(name) {
			put(m, filepath.Join("state/images", filepath.Base(m)))
		}
	}
	disk := filepath.Join(l.TempDir(), "disk")
	check(l.TB, os.WriteFile(disk, nil, 0o600))
	check(l.TB, os.Truncate(disk, 6<<30))
	l.run("mkfs.ext4", "-q", "-F", "-d", dir, disk)
	return disk
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// bootHost runs the host until it is off, and gives what it said.
func (l *lab) bootHost(kernel, initrd, disk string) string {
	l.Helper()
	var said bytes.Buffer
	cmd := l.command("timeout", "2h", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-icount", "shift=1", "-cpu", "max", "-m", "5G",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-nic", "user,restrict=on,model=virtio-net-pci",
		"-drive", "if=virtio,format=raw,file="+disk, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet cryptomgr.notests")
	cmd.Stdout = io.MultiWriter(&said, os.Stdout)
	began := time.Now()
	check(l.TB, cmd.Run())
	l.Logf("the host was off after %v", time.Since(began).Round(time.Second))
	return said.String()
}
