package butane

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/ignition/spec"
)

const ours = `variant: holdfast
version: 1.0.0
attestation:
  broker:
    url: https://10.0.2.2:8080
    ca_local: broker.pem
  resources:
    - name: token
      resource: kbs:///hello/secret/token
  api: [resource]
registry:
  url: https://10.0.2.2:5000
  ca: |
    -----BEGIN CERTIFICATE-----
    -----END CERTIFICATE-----
workload:
  image: 10.0.2.2:5000/hello@sha256:547a17434067480de92307802245d34227acd7eaaf2f3773f32302939ad2f6c1
  args: [serve]
  read_only: true
  mounts:
    - {source: /var/lib/hello, path: /data}
storage:
  directories:
    - path: /var/lib/hello
systemd:
  units:
    - name: hello.service
      contents: |
        [Service]
        ExecStart=/bin/hello
`

func TestOurVariantIsIgnitionAndAGuest(t *testing.T) {
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "broker.pem"), []byte("the CA"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := loader(files).Load("a.bu", []byte(ours))
	if err != nil {
		t.Fatal(err)
	}
	if d.Version != "3.6.0" || len(d.Findings) != 1 || d.Findings[0].Severity != "info" || d.Findings[0].Line != 17 || len(d.Config.Systemd.Units) != 1 || d.Config.Storage.Directories[0].Path != "/var/lib/hello" {
		t.Errorf("got %+v", d)
	}
	got, err := Config{Files: files}.Guest([]byte(ours))
	want := &api.GuestConfig{
		Image:    "10.0.2.2:5000/hello@sha256:547a17434067480de92307802245d34227acd7eaaf2f3773f32302939ad2f6c1",
		Registry: api.Endpoint{URL: "https://10.0.2.2:5000", CA: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"},
		Broker:   api.Endpoint{URL: "https://10.0.2.2:8080", CA: "the CA"},
		Process:  api.Process{Args: []string{"serve"}, ReadOnly: true},
		Secrets:  []api.SecretRef{{Name: "token", Resource: "kbs:///hello/secret/token"}},
		Mounts:   []api.Mount{{Source: "/var/lib/hello", Path: "/data"}}, API: []string{"resource"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestWhatIsWrongInOurVariantIsNamedByItsLine(t *testing.T) {
	const head = "variant: holdfast\nversion: 1.0.0\n"
	for _, c := range []struct {
		body, path, want string
		line             int64
	}{
		{"cluster:\n  endpoint: CANARY\n", "$.cluster", "is reserved: no machine image joins a cluster", 4},
		{"\nidentity: {key: CANARY}\n", "$.identity", "is reserved", 4},
		{"update: CANARY\n", "$.update", "is reserved", 3},
		{"attestation:\n  brocker: {}\n", "$.attestation.brocker", "unknown to the variant holdfast", 4},
		{"storage:\n  files:\n    - path: /a\n      mod: 0644\n", "$.storage.files[0].mod", "unknown to the variant holdfast", 6},
		{"boot_device:\n  luks: {}\n", "$.boot_device", "unknown to the variant holdfast", 3},
		{"attestation:\n  broker:\n    url: http://a\n    ca: CANARY\n", "$.attestation.broker.url", "is no URL of https", 5},
		{"attestation:\n  broker:\n    url: https://a\n", "$.attestation.broker.url", "there is no ca", 5},
		{"attestation:\n  api: [resource]\n", "$.attestation", "there is no broker.url", 4},
		{"attestation:\n  resources:\n    - name: a\n      resource: CANARY\n", "$.attestation.resources[0].resource", "is not kbs:///", 6},
		{"attestation:\n  resources:\n    - name: a/b\n      sealed: CANARY\n", "$.attestation.resources[0].name", "is no name of a file", 5},
		{"attestation:\n  policy: CANARY\n  policy_local: CANARY\n", "$.attestation.policy_local", "want one of them", 5},
		{"workload:\n  args: [CANARY]\n", "$.workload", "there is no image", 4},
		{"workload:\n  image: a\n", "$.workload.image", "there is no registry.url", 4},
		{"workload:\n  image: [a]\n", "$", "is an array", 4},
	} {
		_, err := loader("").Load("a.bu", []byte(head+c.body))
		var bad *spec.InvalidError
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want an InvalidError", c.body, err)
			continue
		}
		f := bad.Findings[0]
		for _, other := range bad.Findings {
			if strings.Contains(other.Problem, c.want) {
				f = other
			}
		}
		if f.Path != c.path || f.Line != c.line || !strings.Contains(f.Problem, c.want) {
			t.Errorf("%s: got %+v, want %s at line %d, %s", c.body, bad.Findings, c.want, c.line, c.path)
		}
		if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("tells a secret: %v", err)
		}
	}
}

func FuzzHoldfast(f *testing.F) {
	f.Add([]byte(ours))
	f.Add([]byte("variant: holdfast\nversion: 1.0.0\ncluster: [a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := loader("").Load("f", text)
		var bad *spec.InvalidError
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, spec.ErrEmpty) {
			t.Errorf("got %T, want an InvalidError", err)
		}
		if g, err := (Config{}).Guest(text); err == nil && g != nil && g.Image == "" && g.Registry.URL == "" {
			t.Errorf("got a guest without anything: %+v", g)
		}
	})
}
