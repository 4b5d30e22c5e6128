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

const standing = `variant: holdfast
version: 1.0.0
identity: {resource: "kbs:///bank/workload/web", owner: "1000:1001", reload: [web.service]}
update: {stream: "registry.example:5000/os/machine:stable", keys: ["sha256:0000000000000000000000000000000000000000000000000000000000000001"]}
cluster: {name: east, endpoint: "https://[fd00::1]:6443", ca: "sha256:0000000000000000000000000000000000000000000000000000000000000002", role: worker}
config: {key_local: keys.pem}
systemd: {units: [{name: web.service, contents: "[Service]\nExecStart=/web"}]}
report: {url: "https://reports.example/holdfast", ca_local: ca.pem}
`

func TestWhatAMachineIsStandsBesideItsIgnitionConfig(t *testing.T) {
	files := t.TempDir()
	for _, name := range []string{"keys.pem", "ca.pem"} {
		if err := os.WriteFile(filepath.Join(files, name), []byte("-----BEGIN CERTIFICATE-----\n"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Config{Files: files}.Guest([]byte(standing))
	if err != nil {
		t.Fatal(err)
	}
	want := &api.GuestConfig{MachineConfig: api.MachineConfig{
		Identity:  &api.Identity{Resource: "kbs:///bank/workload/web", Owner: "1000:1001", Reload: []string{"web.service"}},
		Update:    &api.Update{Stream: "registry.example:5000/os/machine:stable", Keys: []string{"sha256:" + strings.Repeat("0", 63) + "1"}},
		Cluster:   &api.Cluster{Name: "east", Endpoint: "https://[fd00::1]:6443", CA: "sha256:" + strings.Repeat("0", 63) + "2", Role: api.RoleWorker},
		ConfigKey: "-----BEGIN CERTIFICATE-----\nkeys.pem",
		Report:    &api.Endpoint{URL: "https://reports.example/holdfast", CA: "-----BEGIN CERTIFICATE-----\nca.pem"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	d, err := loader(files).Load("a.bu", []byte(standing))
	if err != nil || len(d.Findings) != 2 || d.Findings[0].Line != 4 || d.Findings[1].Line != 5 {
		t.Errorf("got %+v, %v, want two notes of what nothing acts on by itself", d, err)
	}
}

func TestWhatIsWrongInOurVariantIsNamedByItsLine(t *testing.T) {
	const head = "variant: holdfast\nversion: 1.0.0\n"
	for _, c := range []struct {
		body, path, want string
		line             int64
	}{
		{"cluster:\n  endpoint: CANARY\n", "$.cluster", "name: want lower-case letters", 4},
		{"cluster: {name: a, endpoint: \"https://a:6443\", ca: CANARY, role: worker}\n", "$.cluster", "ca: want sha256:", 3},
		{"cluster: {name: a, endpoint: \"https://a:6443\", ca: \"sha256:" + strings.Repeat("a", 64) + "\", role: CANARY}\n", "$.cluster", "role: want control-plane or worker", 3},
		{"\nidentity: {key: CANARY}\n", "$.identity.key", "unknown to the variant holdfast", 4},
		{"identity: {resource: CANARY}\n", "$.identity", "resource: want kbs:///", 3},
		{"identity: {resource: \"kbs:///a/b/c\", owner: CANARY}\n", "$.identity", "owner: want UID", 3},
		{"identity: {resource: \"kbs:///a/b/c\", reload: [CANARY]}\n", "$.identity", "reload 1: want the name of a service", 3},
		{"identity: {resource: \"kbs:///a/b/c\", reload: [CANARY.service]}\n", "$.identity.reload[0]", "has no such service", 3},
		{"update: CANARY\n", "$.update", "is a string, want an object", 3},
		{"update: {stream: \"registry.example/os:stable\"}\n", "$.update", "there are no keys", 3},
		{"update: {stream: CANARY, keys: [CANARY]}\n", "$.update", "stream: want HOST", 3},
		{"config: {key: CANARY}\n", "$.config.key", "config_key: want sha256:", 3},
		{"config: {}\n", "$.config", "want key or key_local", 3},
		{"report: {url: \"https://a\"}\n", "$.report.url", "there is no ca", 3},
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
		{"workload:\n  image: [a]\n", "$.workload.image", "is an array, want a string", 4},
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
		if g, err := (Config{}).Guest(text); err == nil && g != nil && g.Image == "" && g.MachineConfig.IsZero() {
			t.Errorf("got a guest without anything: %+v", g)
		} else if err == nil && g != nil && g.MachineConfig.Check() != nil {
			t.Errorf("got what no machine takes: %+v", g.MachineConfig)
		}
	})
}
