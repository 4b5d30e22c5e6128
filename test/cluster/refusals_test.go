package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// started finds a process of the node's that runs program, 0 when there is none.
func (c *confidentialLab) started(program string) int {
	c.Helper()
	for _, pid := range c.processes(c.cluster) {
		if line := words(pid); strings.Contains(line, program) && !strings.Contains(line, "snapshotter") {
			return pid
		}
	}
	return 0
}

// machine finds the program of the one machine that runs, or the shim that started it:
// shims of machines that ended are there until their pod goes, and numbers of processes
// come again.
func (c *confidentialLab) machine(program string) int {
	c.Helper()
	qemu := c.started("qemu-system")
	if strings.HasPrefix(program, "qemu-system") {
		return qemu
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", qemu))
	check(c.TB, err)
	_, rest, _ := strings.Cut(string(raw), "\nPPid:")
	parent, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(parent))
	check(c.TB, err)
	if line := words(pid); !strings.Contains(line, program) {
		c.Fatalf("the machine's parent is %d, %q: want %s", pid, line, program)
	}
	return pid
}

// kill kills what runs under the pod, which its restart policy brings back.
func (c *confidentialLab) kill(program string) {
	c.Helper()
	before := c.kubectl("get", "pod", "vault", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
	check(c.TB, syscall.Kill(c.machine(program), syscall.SIGKILL))
	began := time.Now()
	c.eventually("a restart after "+program+" was killed", 6*time.Minute, func() error {
		now, err := c.tryKubectl(c.cluster, "get", "pod", "vault", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
		if count, ready, _ := strings.Cut(now, " "); err != nil || count == before || ready != "true" {
			events, _ := c.tryKubectl(c.cluster, "describe", "pod", "vault")
			return fmt.Errorf("got %q, %v, before it was %s\n%s", now, err, before, events)
		}
		return nil
	})
	c.Logf("%s killed: ready again after %v", program, time.Since(began).Round(100*time.Millisecond))
}

// nothingLeft wants nothing of pods' machines on the node, once kubelet's collector, which
// looks every minute, has removed the sandboxes that ended before their pod did.
func (c *confidentialLab) nothingLeft() {
	c.Helper()
	c.eventually("nothing left of the pod", 4*time.Minute, func() error {
		for _, program := range []string{"qemu-system", "swtpm", "containerd-shim-holdfast-v2"} {
			if pid := c.started(program); pid != 0 {
				return fmt.Errorf("%s is there: %s", program, words(pid))
			}
		}
		return nil
	})
	left, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/tmp/swtpm-*", c.pid(c.cluster)))
	if err != nil || len(left) > 0 {
		c.Errorf("left: %v, %v", left, err)
	}
}

// refusals are pods that do not run, each with its reason in its events.
func (c *confidentialLab) refusals(sealed string) {
	c.Helper()
	c.held("denied", sealed, c.deny, "nobody gets anything today")
	c.held("edited", strings.Replace(sealed, "sleep 86400", "sleep 86401", 1), func() func() { return func() {} }, "holdfast broker allow sha256:")
	c.held("changed", sealed, c.changeLayer, "layer")
}

// held applies the pod under another name, while something is other than it was.
func (c *confidentialLab) held(name, sealed string, change func() (back func()), want string) {
	c.Helper()
	back := change()
	defer back()
	c.apply(c.cluster, strings.Replace(sealed, "name: vault", "name: "+name, 1))
	c.told(name, want)
	c.kubectl("delete", "pod", name, "--timeout=240s")
}

// changeLayer changes a byte of the image's layer where the registry keeps it.
func (c *confidentialLab) changeLayer() (back func()) {
	c.Helper()
	var shown struct{ Layers []struct{ Digest string } }
	out, err := c.command(c.holdfast, "image", "inspect", c.host+":5000/vault:enc", "--ca", c.ca, "--json").Output()
	check(c.TB, err)
	check(c.TB, json.Unmarshal(out, &shown))
	if len(shown.Layers) == 0 {
		c.Fatalf("the image has no layer: got %s", out)
	}
	layer := filepath.Join(c.state, "registry", "vault", "blobs", "sha256", strings.TrimPrefix(shown.Layers[0].Digest, "sha256:"))
	good, err := os.ReadFile(layer)
	check(c.TB, err)
	bad := append([]byte{}, good...)
	bad[len(bad)/2] ^= 1
	check(c.TB, os.WriteFile(layer, bad, 0o600))
	return func() { check(c.TB, os.WriteFile(layer, good, 0o600)) }
}

// deny has the broker's policy deny every machine.
func (c *confidentialLab) deny() (back func()) {
	c.Helper()
	policy, err := c.command(c.holdfast, "policy", "show", "attestation").Output()
	check(c.TB, err)
	file := filepath.Join(c.TempDir(), "attestation.rego")
	check(c.TB, os.WriteFile(file, append(policy, "\nreasons contains \"nobody gets anything today\"\n"...), 0o600))
	c.run(c.holdfast, "broker", "policy", "set", "attestation", file)
	return func() {
		check(c.TB, os.WriteFile(file, policy, 0o600))
		c.run(c.holdfast, "broker", "policy", "set", "attestation", file)
	}
}
