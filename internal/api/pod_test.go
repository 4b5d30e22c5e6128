package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAPodThatNoMachineCouldKeepIsRefused(t *testing.T) {
	const good = `{"containers": [{"name": "a", "image": "i", "process": {}}]}`
	for pod, want := range map[string]string{
		`{}`: "0 containers",
		`{"containers": [{"name": "A", "image": "i"}]}`:                                                                                                       `container "A"`,
		`{"containers": [{"name": "a"}]}`:                                                                                                                     "names no image",
		`{"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}`:                                                                          "twice",
		`{"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i", "init": true}]}`:                                                            "comes after",
		`{"containers": [{"name": "a", "image": "i", "exec": [{}]}]}`:                                                                                         "exec: want a command",
		`{"containers": [{"name": "a", "image": "i", "exec": [{"args": ["("], "pattern": true}]}]}`:                                                           "missing closing )",
		`{"containers": [{"name": "a", "image": "i", "exec": [{"args": ["x"], "streams": ["x"]}]}]}`:                                                          "stream",
		`{"containers": [{"name": "a", "image": "i", "message": "/proc/1/x"}]}`:                                                                               "message",
		`{"containers": [{"name": "a", "image": "i", "message": "/m", "tmpfs": [{"path": "/m", "size": 4096}]}]}`:                                             "something else is at /m",
		`{"volumes": [{"name": "v", "size": 4096, "files": [{"name": "x", "content": "eA==", "sealed": "y"}]}], "containers": [{"name": "a", "image": "i"}]}`: "content or a sealed secret",
		`{"containers": [{"name": "a", "image": "i", "streams": ["stderr"]}]}`:                                                                                "stream",
		`{"containers": [{"name": "a", "image": "i", "drop": ["cap_chown"]}]}`:                                                                                "drop",
		`{"containers": [{"name": "a", "image": "i", "secrets": [{"name": "s"}]}]}`:                                                                           "secret",
		`{"containers": [{"name": "a", "image": "i", "volumes": [{"name": "v", "path": "/v"}]}]}`:                                                             "none of that name",
		`{"volumes": [{"name": "v", "size": 4096}], "containers": [{"name": "a", "image": "i", "volumes": [{"name": "v", "path": "/../v"}]}]}`:                "absolute path",
		`{"volumes": [{"name": "v", "size": 4096}], "containers": [{"name": "a", "image": "i", "volumes": [{"name": "v", "path": "/etc/hosts"}]}]}`:           "fills",
		`{"volumes": [{"name": "v", "size": 4096, "files": [{"name": "../x"}]}], "containers": [{"name": "a", "image": "i"}]}`:                                "clean relative path",
		`{"volumes": [{"name": "v", "size": 4096, "files": [{"name": "/x"}]}], "containers": [{"name": "a", "image": "i"}]}`:                                  "clean relative path",
		`{"volumes": [{"name": "../v", "size": 4096}], "containers": [{"name": "a", "image": "i"}]}`:                                                          `volume "../v"`,
		`{"volumes": [{"name": "v"}], "containers": [{"name": "a", "image": "i"}]}`:                                                                           "size",
	} {
		c := GuestConfig{Pod: &Pod{}}
		if err := json.Unmarshal([]byte(pod), c.Pod); err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", pod, err, want)
		}
	}
	c := GuestConfig{Pod: &Pod{}}
	if err := json.Unmarshal([]byte(good), c.Pod); err != nil || c.Check() != nil {
		t.Fatalf("%s: got %v, %v, want it taken", good, err, c.Check())
	}
	c.Control = []string{CallSignal}
	if err := c.Check(); err == nil {
		t.Error("a pod beside calls of a machine's one workload: want it refused")
	}
}
