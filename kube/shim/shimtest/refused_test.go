package shimtest

import (
	"context"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// The node changes what its pod may do, which is the configuration's digest too: the
// broker lets that have nothing, and the reason is what a kubelet writes into the pod's events.
func TestAPodThatTheNodeChangedGetsNothing(t *testing.T) {
	l := newLab(t)
	l.machines()
	l.encrypt()
	s := l.seal(redis)
	var p pod
	l.check(yaml.Unmarshal([]byte(s.Manifest), &p))
	const annotation = "holdfast/init-data"
	// The document is a string of TOML, which may be a quoted one.
	changed := strings.NewReplacer(`"user": "999"`, `"user": "0"`, `\"user\": \"999\"`, `\"user\": \"0\"`).Replace(p.Metadata.Annotations[annotation])
	if changed == p.Metadata.Annotations[annotation] {
		t.Fatalf("nothing to change in %s", changed)
	}
	config := l.sandbox(map[string]string{annotation: changed})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	_, err := l.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: "holdfast"})
	for _, want := range []string{"the machine refused at stage attest", "holdfast broker allow sha256:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), s.Pods[0].Configuration) {
		t.Errorf("the refusal names the configuration that is authorised: %v", err)
	}
	// An older one that was good is good until it is withdrawn.
	l.hf("broker", "withdraw", s.Pods[0].Configuration)
	config = l.sandbox(p.Metadata.Annotations)
	config.Metadata.Attempt = 1
	_, err = l.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: "holdfast"})
	if want := "configuration " + s.Pods[0].Configuration + " is not authorised"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("an old configuration again: got %v, want %q", err, want)
	}
}
