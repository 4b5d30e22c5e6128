package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
)

const (
	oneImage   = "r:5000/one@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	otherImage = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func newPod(t *testing.T) *pod {
	t.Helper()
	c := api.GuestConfig{Registry: api.Endpoint{URL: "https://r:5000"}, Pod: &api.Pod{Containers: []api.Container{
		{Name: "first", Image: oneImage, Init: true, Exec: []api.Command{
			{Args: []string{"redis-cli", "ping"}, Streams: []string{api.StreamLogs}},
			{Args: []string{"tar", "cf", "-", "/data/[a-z]+"}, Pattern: true},
			{Args: []string{"sh"}, Streams: []string{api.StreamInput}, Terminal: true},
		}}, {Name: "app", Image: oneImage},
	}}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return &pod{PodConfig: PodConfig{Config: Config{Guest: c, Dir: t.TempDir()}}, containers: map[string]*container{}, commands: map[uint64]*command{}, finished: map[string]bool{}}
}

// What a host may not do with a pod's containers, each with the words that it
// hears.
func TestAHostOnlyNamesContainers(t *testing.T) {
	p := newPod(t)
	p.containers["first"] = &container{Container: p.Guest.Pod.Containers[0], state: running}
	for _, c := range []struct{ call, params, want string }{
		{"create", `{"container": "other"}`, `"other": the measured configuration has none of that name`},
		{"create", `{"container": "../app"}`, "none of that name"},
		{"create", `{"container": "first"}`, "container first: runs already"},
		{"create", `{"container": "app"}`, "first, which comes first, has not ended well"},
		{"create", `{"container": "app", "image": "` + otherImage + `"}`, "image is " + otherImage + ", the measured configuration has sha256:aaaa"},
		{"create", `{"container": "app", "terminal": true}`, "a terminal is not in the measured configuration"},
		{"create", `{"container": "app", "user": "root"}`, `unknown field "user"`},
		{"start", `{"container": "app"}`, "is not there"},
		{"start", `{"container": "first"}`, "container first: runs"},
		{"delete", `{"container": "first"}`, "container first: runs"},
		{"kill", `{"container": "app", "signal": 9}`, "does not run"},
		{"kill", `{"container": "first", "signal": 0}`, "signal 0: want 1 to 64"},
		{"stats", `{"container": "app"}`, "is not there"},
		{"exec", `{"container": "app", "args": ["redis-cli", "ping"]}`, "container app: command [\"redis-cli\" \"ping\"] is not in the measured configuration"},
		{"exec", `{"container": "other", "args": ["sh"]}`, "none of that name"},
		{"exec", `{"container": "first"}`, "command [] is not in the measured configuration"},
		{"exec", `{"container": "first", "args": ["redis-cli", "ping", "x"]}`, "is not in the measured configuration"},
		{"exec", `{"container": "first", "args": ["redis-cli"]}`, "is not in the measured configuration"},
		{"exec", `{"container": "first", "args": ["tar", "cf", "-", "/data/../etc"]}`, "is not in the measured configuration"},
		{"exec", `{"container": "first", "args": ["tar", "cf", "-", "x\n/data/a"]}`, "is not in the measured configuration"},
		{"exec", `{"container": "first", "args": ["tar", "cf", "-", "/data/a\n"]}`, "is not in the measured configuration"},
		{"exec", `{"container": "first", "args": ["redis-cli", "ping"], "terminal": true}`, "a terminal for command"},
		{"exec", `{"container": "first", "args": ["redis-cli", "ping"], "stdin": true}`, "input for command"},
		{"exec", `{"container": "first", "args": ["sh"], "env": ["LD_PRELOAD=x"]}`, `unknown field "env"`},
		{"start", `{"container": "first", "exec": 7}`, "it has no command 7"},
		{"delete", `{"container": "first", "exec": 7}`, "it has no command 7"},
		{"kill", `{"container": "first", "exec": 7, "signal": 9}`, "it has no command 7"},
		{"stats", `{"container": "first", "exec": 7}`, "none of its own"},
		{"resize", `{"container": "first", "width": 80, "height": 24}`, "there is no terminal"},
		{"mount", `{"container": "first"}`, "unknown call"},
	} {
		_, err := p.do(t.Context(), api.PodCall{Name: c.call, Params: json.RawMessage(c.params)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: got %v, want %q", c.call, c.params, err, c.want)
		}
	}
	p.finished["first"] = true
	if _, err := p.reserve(api.CreateParams{Container: "app"}); err != nil {
		t.Errorf("once the first has ended well: %v", err)
	}
}

func TestWhatAHostBelievesIsHeldAgainstTheConfiguration(t *testing.T) {
	c := api.Container{Name: "app", Process: api.Process{Args: []string{"serve"}, Env: []string{"A=1", "S=sealed.x.y.z"}},
		Volumes: []api.VolumeMount{{Name: "v", Path: "/data"}}, Tmpfs: []api.Tmpfs{{Path: "/tmp"}}}
	s := spec{image: v1.ImageConfig{Entrypoint: []string{"/app"}, Env: []string{"PATH=/bin", "I=2"}}, process: c.Process}
	honest := api.CreateParams{
		Args: []string{"/app", "serve"}, Workdir: "/",
		Env:    []string{"PATH=/bin", "I=2", "A=1", "S=sealed.x.y.z", "HOSTNAME=node-says", "KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443"},
		Mounts: []string{"/proc", "/dev/shm", "/etc/hosts", "/dev/termination-log", "/data", "/tmp"},
	}
	if err := compare(s, c, honest); err != nil {
		t.Fatalf("an honest host: %v", err)
	}
	for want, p := range map[string]api.CreateParams{
		"arguments are":              {Args: []string{"/bin/sh"}},
		"working directory":          {Workdir: "/root"},
		"variable A ":                {Env: []string{"A=2"}},
		"variable LD_PRELOAD ":       {Env: []string{"LD_PRELOAD=/x"}},
		"variable KUBERNETES_TOKEN ": {Env: []string{"KUBERNETES_TOKEN=x"}},
		"variable S ":                {Env: []string{"S=secret"}},
		"mount /etc/passwd":          {Mounts: []string{"/etc/passwd"}},
		"mount /data/../etc":         {Mounts: []string{"/data/../etc"}},
		"mount /dev/../etc":          {Mounts: []string{"/dev/../etc"}},
		"mount /procs":               {Mounts: []string{"/procs"}},
	} {
		if err := compare(s, c, p); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: got %v, want %q", p, err, want)
		}
	}
}

func TestAVolumeHasItsMeasuredFiles(t *testing.T) {
	dir := t.TempDir()
	v := api.Volume{Name: "v", Size: 1 << 20, Files: []api.VolumeFile{{Name: "a/b", Content: []byte("x"), Mode: "0400"}, {Name: "c"}}}
	if err := writeVolume(dir, v); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "a/b"))
	if err != nil || info.Mode() != 0o400 || info.Size() != 1 {
		t.Fatalf("got %+v, %v, want one byte, mode 0400", info, err)
	}
}

func TestDroppedCapabilitiesAreGone(t *testing.T) {
	for drop, want := range map[string]int{"ALL": 0, "CHOWN": len(capabilities) - 1, "SYS_ADMIN": len(capabilities)} {
		c := spec{drop: []string{drop}}.capabilities()
		if len(c.Bounding) != want || len(c.Effective) != want {
			t.Errorf("%s: got %v, want %d", drop, c, want)
		}
	}
}

// Else what it takes beyond its limit would be compressed without end, and be others' memory.
func TestALimitOfAContainerIsOneOfSwapToo(t *testing.T) {
	one, err := (&guest{limit: 1 << 20}).memory()
	if err != nil || *one.Limit != 1<<20 || one.Swap == nil || *one.Swap != 1<<20 {
		t.Errorf("limited: got %+v, %v", one, err)
	}
	all, err := (&guest{}).memory()
	if err != nil || *all.Limit <= 1<<20 || all.Swap != nil {
		t.Errorf("without a limit: got %+v, %v", all, err)
	}
}
