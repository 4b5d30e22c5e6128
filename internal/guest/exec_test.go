package guest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"holdfast/internal/api"
)

func (p *pod) mustPrepare(t *testing.T, args ...string) *api.ExecDetail {
	t.Helper()
	d, err := p.prepare(api.ExecParams{Container: "first", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Commands have streams that no container has, and no other command; they are free again
// when one was forgotten.
func TestCommandsHaveStreamsOfTheirOwn(t *testing.T) {
	p := newPod(t)
	if _, err := p.prepare(api.ExecParams{Container: "first", Args: []string{"redis-cli", "ping"}}); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Fatalf("in a container that does not run: got %v", err)
	}
	p.containers["first"] = &container{Container: p.Guest.Pod.Containers[0], state: running}
	one, other := p.mustPrepare(t, "redis-cli", "ping"), p.mustPrepare(t, "tar", "cf", "-", "/data/a")
	if one.First != api.FirstStream(2) || other.First != api.FirstStream(3) || one.Exec == other.Exec {
		t.Fatalf("got %+v and %+v, want the two places behind the containers'", one, other)
	}
	q, err := json.Marshal(api.ContainerParams{Container: "first", Exec: one.Exec})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.do(t.Context(), api.PodCall{Name: api.CallDelete, Params: q}); err != nil {
		t.Fatal(err)
	}
	if again := p.mustPrepare(t, "redis-cli", "ping"); again.First != one.First || again.Exec == one.Exec {
		t.Errorf("got %+v, want the streams of %+v under another name", again, one)
	}
	for len(p.commands) < api.MaxContainers-2 {
		p.mustPrepare(t, "redis-cli", "ping")
	}
	if _, err := p.prepare(api.ExecParams{Container: "first", Args: []string{"redis-cli", "ping"}}); err == nil || !strings.Contains(err.Error(), "as many commands run") {
		t.Errorf("one more than there are streams for: got %v", err)
	}
}

// Of a command the host says its arguments; all else is as the container's first
// process has it.
func TestACommandIsAsItsContainerButForItsArguments(t *testing.T) {
	b := &bundle{dir: t.TempDir()}
	const config = `{"ociVersion": "1.0.2", "process": {"args": ["/app"], "env": ["A=1"], "cwd": "/srv", "user": {"uid": 7, "gid": 8}, "noNewPrivileges": true}}`
	if err := os.WriteFile(b.path("config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	words, err := b.describe("exec-1", &command{ExecParams: api.ExecParams{Args: []string{"ping"}, Terminal: true}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(words[len(words)-1])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"terminal":true,"user":{"uid":7,"gid":8},"args":["ping"],"env":["A=1","TERM=xterm"],"cwd":"/srv","noNewPrivileges":true}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLastWordsAreBoundedText(t *testing.T) {
	b := &bundle{dir: t.TempDir()}
	if got := b.message(); got != "" {
		t.Errorf("of nothing: got %q", got)
	}
	if err := os.WriteFile(b.path("message"), []byte("\xff"+strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := b.message(); !strings.HasPrefix(got, "\uFFFDx") || strings.Count(got, "x") != api.MaxMessage-1 {
		t.Errorf("got %d bytes, want %d of what it left", len(got), api.MaxMessage)
	}
}
