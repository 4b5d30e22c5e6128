package cluster

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// vault is a pod that tells by digest alone what only its machine may see.
const vault = `
apiVersion: v1
kind: Pod
metadata: {name: vault}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: box
      image: HOST:5000/vault:enc
      args: [sh, -c, "busybox sha256sum /canary /run/secrets/canary; exec busybox sleep 86400"]
      env: [{name: MARKER, value: ` + marker + `}]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

const (
	imageCanary  = "canary-of-the-image-5e27a90c"
	secretCanary = "canary-of-the-secret-81d4f3b6"
	marker       = "marker-that-anybody-sees-0c77e1" // of the measured configuration, which is no secret
)

// A confidentialLab is a cluster whose pods may be machines, and a registry and a broker
// that they reach.
type confidentialLab struct {
	*lab
	cluster, host, ca string
}

func newConfidentialLab(t testing.TB, cluster string) *confidentialLab {
	t.Helper()
	c := &confidentialLab{lab: newLab(t), cluster: cluster}
	if st := c.create(cluster, "--confidential"); !st.Ready {
		t.Fatalf("got %+v", st)
	}
	c.host = c.status(cluster).Host
	c.ca = filepath.Join(c.state, "keys", "tls.crt")
	c.serveOn(c.host+":5000", c.host+":8080")
	layout := filepath.Join(t.TempDir(), "vault")
	c.run(c.holdfast, "image", "build", "testdata/vault", "-o", layout, "-q")
	c.run(c.holdfast, "image", "encrypt", layout, c.host+":5000/vault:enc", "--recipient", "kbs", "--ca", c.ca, "-q")
	file := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(file, []byte(secretCanary+"\n"), 0o600))
	c.run(c.holdfast, "broker", "set", "--replace", "vault/secret/canary", file, "-q")
	return c
}

// serveOn starts registry and broker where pods reach them.
func (c *confidentialLab) serveOn(registry, broker string) {
	c.Helper()
	cmd := c.command(c.holdfast, "serve", "--json", "--registry-listen", registry, "--broker-listen", broker)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	check(c.TB, err)
	check(c.TB, cmd.Start())
	c.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	var ready struct{ Registry string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&ready); err != nil {
		c.Fatalf("serve: %v", err)
	}
}

// trust has the broker believe the machine image of pods.
func (c *confidentialLab) trust() {
	c.Helper()
	c.run(c.holdfast, "broker", "trust", filepath.Join(c.state, "images", "guest"), "-q")
}

// distrust has it believe none.
func (c *confidentialLab) distrust() {
	c.Helper()
	for line := range strings.Lines(c.run(c.holdfast, "broker", "list", "-q")) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "image" {
			c.run(c.holdfast, "broker", "distrust", words[2], "-q")
		}
	}
}

// seal writes what the pod may do into its manifest.
func (c *confidentialLab) seal() string {
	c.Helper()
	file := filepath.Join(c.TempDir(), "vault.yaml")
	check(c.TB, os.WriteFile(file, []byte(strings.ReplaceAll(vault, "HOST", c.host)), 0o600))
	out, err := c.command(c.holdfast, "pod", "seal", "-f", file, "--ca", c.ca, "--pods-registry", "https://"+c.host+":5000",
		"--pods-broker", "https://"+c.host+":8080", "--secret", "box/canary=kbs:///vault/secret/canary", "-q").Output()
	check(c.TB, err)
	return string(out)
}

func (c *confidentialLab) kubectl(args ...string) string {
	c.Helper()
	return c.lab.kubectl(c.cluster, args...)
}

// told waits until the events of the pod say all of want.
func (c *confidentialLab) told(pod string, want ...string) {
	c.Helper()
	c.eventually("the reason in the events of "+pod, 4*time.Minute, func() error {
		events, err := c.tryKubectl(c.cluster, "describe", "pod", pod)
		if err != nil {
			return fmt.Errorf("%w: %s", err, events)
		}
		for _, w := range want {
			if !strings.Contains(events, w) {
				return fmt.Errorf("no %q in\n%s", w, events)
			}
		}
		return nil
	})
	// A pod whose container is tried again and again has the phase Running, too.
	if runs := c.kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[*].state.running}"); runs != "" {
		c.Errorf("pod %s: its container runs: %s", pod, runs)
	}
}

func (c *confidentialLab) ready(pod string) {
	c.Helper()
	began := time.Now()
	c.kubectl("wait", "--for=condition=Ready", "pod/"+pod, "--timeout=480s")
	c.Logf("pod %s is ready after %v", pod, time.Since(began).Round(100*time.Millisecond))
}

func sum(canary string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(canary+"\n"))) }

// An encrypted image applied as a pod, and by nothing but kubectl. First nobody trusts its
// machine; then it runs, is proved, keeps its secrets, and outlives what is killed under it.
func TestAnEncryptedImageRunsAsAConfidentialPod(t *testing.T) {
	c := newConfidentialLab(t, "test-conf")
	c.distrust()
	sealed := c.seal()
	c.apply(c.cluster, sealed)
	c.told("vault", "the machine refused at stage attest")
	c.trust()
	c.ready("vault")
	c.eventually("its output", time.Minute, func() error {
		want := sum(imageCanary) + "  /canary\n" + sum(secretCanary) + "  /run/secrets/canary\n"
		if got, err := c.tryKubectl(c.cluster, "logs", "vault"); got != want {
			return fmt.Errorf("got %q, %v, want %q", got, err, want)
		}
		return nil
	})
	c.proved("vault")
	c.noCanary()
	c.kill("qemu-system-x86_64")
	c.kill("containerd-shim-holdfast-v2")
	c.kubectl("delete", "pod", "vault", "--timeout=240s")
	c.refusals(sealed) // one changes the layer, which the registry gives to nobody since
	c.nothingLeft()
}

// proved wants the proof of what was released to the pod to hold.
func (c *confidentialLab) proved(pod string) {
	c.Helper()
	out := c.run(c.holdfast, "verify", "pod/"+pod, "--cluster", c.cluster)
	for _, want := range []string{"released vault/secret/canary", "verified: ", "what the TPM signed"} {
		if !strings.Contains(out, want) {
			c.Errorf("verify: no %q in\n%s", want, out)
		}
	}
}
