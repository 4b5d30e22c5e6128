package confidential

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

const deployment = `# ours
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {greeting: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2 # kept
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "r:5000/web:1", volumeMounts: [{name: c, mountPath: /c}]}
      volumes: [{name: c, configMap: {name: web}}]
`

func TestADeploymentIsSealedInItsTemplate(t *testing.T) {
	m, err := Parse([]byte(deployment))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := m.ConfigMaps()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := m.Seal(Settings{ConfigMaps: maps, Image: settings.Image}, func(p *api.Pod) ([]byte, error) {
		return []byte("line of " + p.Containers[0].Name + "\nand " + string(p.Volumes[0].Files[0].Content) + "\n"), nil
	})
	if err != nil || len(sealed) != 1 || sealed[0].Object != "Deployment/web" {
		t.Fatalf("got %+v, %v", sealed, err)
	}
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	pod := at(again.documents[1], "spec", "template")
	for path, want := range map[string]string{
		"metadata annotations " + Annotation: "line of web\nand hello\n",
		"metadata labels app":                "web",
		"spec runtimeClassName":              RuntimeClass,
		"spec automountServiceAccountToken":  "false",
		"spec enableServiceLinks":            "false",
	} {
		if got := at(pod, strings.Fields(path)...); got == nil || got.Value != want {
			t.Errorf("%s: got %+v, want %q", path, got, want)
		}
	}
	for _, want := range []string{"r:5000/web:1" + pinned, "replicas: 2 # kept", "# ours"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestAManifestWithoutPodsIsRefused(t *testing.T) {
	m, err := Parse([]byte("kind: Service\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Seal(Settings{}, nil); err == nil || !strings.Contains(err.Error(), "no pod") {
		t.Fatalf("got %v, want no pod", err)
	}
}

// A name that is spelt wrong would leave output open, or a secret away.
func TestSettingsForNobodyAreRefused(t *testing.T) {
	m, err := Parse([]byte(deployment))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Settings{{NoLogs: []string{"wep"}}, {Secrets: map[string][]api.SecretRef{"wep": nil}}, {Commands: map[string][]api.Command{"wep": nil}}} {
		s.Image, s.ConfigMaps = settings.Image, ConfigMaps{"web": {}}
		_, err := m.Seal(s, func(*api.Pod) ([]byte, error) { return nil, nil })
		if err == nil || !strings.Contains(err.Error(), `no container "wep"`) {
			t.Errorf("%+v: got %v", s, err)
		}
	}
}

func TestSecretsOfAManifestAreRead(t *testing.T) {
	m, err := Parse([]byte("kind: Secret\nmetadata: {name: s}\nstringData: {a: text}\ndata: {a: eA==, b: eQ==}\n"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := m.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := all["s"].get("a")
	b, _ := all["s"].get("b")
	if string(a) != "text" || string(b) != "y" || len(all["s"].keys()) != 2 {
		t.Errorf("got %q, %q, %v", a, b, all["s"].keys())
	}
}
