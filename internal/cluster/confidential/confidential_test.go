package confidential

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/api"
)

const pinned = "@sha256:" + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

var settings = Settings{
	ConfigMaps: ConfigMaps{"web": {Data: map[string]string{"b": "2", "a": "1"}}},
	Image:      func(name string) (string, error) { return name + pinned, nil },
	Secrets:    map[string][]api.SecretRef{"app": {{Name: "token", Resource: "kbs:///a/b/c"}}},
	NoLogs:     []string{"quiet"},
	SealedSecrets: ConfigMaps{
		"open": {Data: map[string]string{"a": "in the clear"}},
		"shut": {Data: map[string]string{"a": sealedText, "b": sealedText}},
	},
	Commands: map[string][]api.Command{"app": {{Args: []string{"tar", "cf", "-", "/srv/.*"}, Pattern: true, Streams: []string{"logs"}}}},
}

const sealedText = "sealed.e30.e30.x"

func TestAPodIsReadWhole(t *testing.T) {
	p, err := Pod([]byte(`{
		"initContainers": [{"name": "first", "image": "r:5000/first", "command": ["sh"], "args": ["-c", "x"]}],
		"containers": [{
			"name": "app", "image": "r:5000/app", "args": ["serve"], "workingDir": "/srv", "ports": [{"containerPort": 80}],
			"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "b"}}},
				{"name": "S", "valueFrom": {"secretKeyRef": {"name": "shut", "key": "b"}}}],
			"envFrom": [{"prefix": "W_", "configMapRef": {"name": "web"}}],
			"volumeMounts": [{"name": "config", "mountPath": "/etc/web"}, {"name": "scratch", "mountPath": "/scratch"}],
			"resources": {"limits": {"memory": "64Mi", "cpu": 1}},
			"securityContext": {"runAsGroup": 7, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
			"readinessProbe": {"tcpSocket": {"port": 80}}, "livenessProbe": {"exec": {"command": ["alive", "-q"]}},
			"lifecycle": {"preStop": {"exec": {"command": ["bye"]}}, "postStart": {"sleep": {"seconds": 1}}}
		}, {"name": "quiet", "image": "r:5000/quiet", "stdin": true, "tty": true, "startupProbe": {"exec": {"command": ["up"]}}}],
		"volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 256}}, {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}},
			{"name": "all", "projected": {"defaultMode": 288, "sources": [{"secret": {"name": "shut", "items": [{"key": "a", "path": "in/a"}]}}, {"configMap": {"name": "web"}}]}}],
		"securityContext": {"runAsUser": 1000, "runAsNonRoot": true}, "restartPolicy": "Always", "hostname": "web"
	}`), settings)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "volumes": [
  {"name": "config", "size": 67108864, "files": [{"name": "a", "content": "MQ==", "mode": "0400"}, {"name": "b", "content": "Mg==", "mode": "0400"}]},
  {"name": "scratch", "size": 1048576},
  {"name": "all", "size": 67108864, "files": [{"name": "in/a", "sealed": "` + sealedText + `", "mode": "0440"}, {"name": "a", "content": "MQ==", "mode": "0440"}, {"name": "b", "content": "Mg==", "mode": "0440"}]}
 ],
 "containers": [
  {"name": "first", "image": "r:5000/first` + pinned + `", "init": true, "process": {"args": ["-c", "x"], "entrypoint": ["sh"], "user": "1000", "hostname": "web"}, "non_root": true, "streams": ["logs"], "message": "/dev/termination-log"},
  {"name": "app", "image": "r:5000/app` + pinned + `",
   "process": {"args": ["serve"], "env": ["W_a=1", "W_b=2", "A=1", "B=2", "S=` + sealedText + `"], "user": "1000:7", "workdir": "/srv", "hostname": "web", "read_only": true},
   "secrets": [{"name": "token", "resource": "kbs:///a/b/c"}],
   "volumes": [{"name": "config", "path": "/etc/web", "read_only": true}, {"name": "scratch", "path": "/scratch"}],
   "memory": 67108864, "drop": ["ALL"], "non_root": true, "streams": ["logs"], "message": "/dev/termination-log", "exec": [
     {"args": ["tar", "cf", "-", "/srv/.*"], "pattern": true, "streams": ["logs"]}, {"args": ["alive", "-q"], "streams": ["logs"]}, {"args": ["bye"], "streams": ["logs"]}]},
  {"name": "quiet", "image": "r:5000/quiet` + pinned + `", "process": {"user": "1000", "hostname": "web", "terminal": true}, "non_root": true, "streams": ["stdin"], "exec": [{"args": ["up"]}]}
 ]
}`
	var a, b any
	if json.Unmarshal([]byte(want), &a) != nil || json.Unmarshal(got, &b) != nil {
		t.Fatal("the test's own JSON")
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatTheNodeWouldHaveToBeBelievedInIsRefusedByItsField(t *testing.T) {
	for spec, want := range map[string]string{
		`"hostNetwork": true`:                                                                                    "hostNetwork",
		`"automountServiceAccountToken": true`:                                                                   "automountServiceAccountToken",
		`"enableServiceLinks": true`:                                                                             "enableServiceLinks",
		`"runtimeClassName": "runc"`:                                                                             "runtimeClassName",
		`"shareProcessNamespace": true`:                                                                          "shareProcessNamespace",
		`"ephemeralContainers": []`:                                                                              "ephemeralContainers",
		`"volumes": [{"name": "v", "hostPath": {"path": "/"}}]`:                                                  "hostPath",
		`"volumes": [{"name": "v", "secret": {"secretName": "s"}}]`:                                              "secret s: is not in the same manifest",
		`"volumes": [{"name": "v", "secret": {"secretName": "open"}}]`:                                           "secret open: a: the node would read it",
		`"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "open"}}]}}]`:                   "secret open: a: the node would read it",
		`"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]`:                    "serviceAccountToken",
		`"volumes": [{"name": "v", "projected": {"sources": [{}]}}]`:                                             "want a configMap or a secret",
		`"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]`:                                "persistentVolumeClaim",
		`"volumes": [{"name": "v", "configMap": {"name": "absent"}}]`:                                            "not in the same manifest",
		`"volumes": [{"name": "v", "configMap": {"name": "web", "items": [{"key": "a", "path": "../../etc"}]}}]`: "clean relative path",
		`"securityContext": {"fsGroup": 1}`:                                                                      "fsGroup",
	} {
		_, err := Pod([]byte(`{"containers": [{"name": "app", "image": "i"}], `+spec+`}`), settings)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", spec, err, want)
		}
	}
	for container, want := range map[string]string{
		`"securityContext": {"privileged": true}`:                                             "privileged",
		`"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}`:                         "NET_ADMIN",
		`"livenessProbe": {"exec": {"command": ["$(X)"]}}`:                                    "livenessProbe: refers to a variable",
		`"livenessProbe": {"exec": {}}`:                                                       "exec: want a command",
		`"lifecycle": {"stopSignal": "SIGUSR1"}`:                                              "stopSignal",
		`"envFrom": [{"secretRef": {"name": "open"}}]`:                                        "the node would read it",
		`"envFrom": [{"configMapRef": {"name": "absent"}}]`:                                   "not in the same manifest",
		`"args": ["$(X)"]`:                                                                    "command: refers to a variable",
		`"terminationMessagePath": "/proc/x"`:                                                 "message",
		`"env": [{"name": "A", "value": "$(B)"}]`:                                             "variable A",
		`"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "open", "key": "a"}}}]`: "secretKeyRef",
		`"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]`:                               "valueFrom",
		`"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x"}]`:                  "subPath",
		`"volumeMounts": [{"name": "v", "mountPath": "/v"}]`:                                  "none of that name",
		`"volumeMounts": [{"name": "v", "mountPath": "/proc/x"}]`:                             "volume",
		`"resources": {"limits": {"memory": "many"}}`:                                         "quantity",
	} {
		_, err := Pod([]byte(`{"containers": [{"name": "app", "image": "i", `+container+`}]}`), settings)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", container, err, want)
		}
	}
}

// Each of these seals a pod whose container could never begin.
func TestLastWordsHaveAPlace(t *testing.T) {
	pod := func(path, mount string, s Settings) error {
		_, err := Pod(fmt.Appendf(nil, `{"containers": [{"name": "app", "image": "i", "terminationMessagePath": %q, "volumeMounts": [%s]}],
			"volumes": [{"name": "conf", "configMap": {"name": "web"}}, {"name": "e", "emptyDir": {}}]}`, path, mount), s)
		return err
	}
	kept := settings
	kept.NoLogs = []string{"app"}
	filled, empty := `{"name": "conf", "mountPath": "/etc/web"}`, `{"name": "e", "mountPath": "/data"}`
	for _, c := range []struct {
		path, mount, want string
		s                 Settings
	}{
		{"/var/words", "", "terminationMessagePath /var/words: the container's output is kept", kept},
		{"/dev/termination-log", "", "", kept},
		{"", "", "", kept},
		{"/var/words", "", "", settings},
		{"/etc/web/words", filled, "terminationMessagePath /etc/web/words: volume conf is read-only", settings},
		{"/etc/website", filled, "", settings},
		{"/data/words", empty, "", settings},
		{"/data/words", `{"name": "e", "mountPath": "/data", "readOnly": true}`, "volume e is read-only", settings},
	} {
		err := pod(c.path, c.mount, c.s)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q beside %s: got %v, want %q", c.path, c.mount, err, c.want)
		}
	}
}
