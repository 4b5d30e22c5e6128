package guest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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

// pipes are the streams that were opened, each as a machine's port has it: its output
// ends for the host when nobody holds it any more.
type pipes struct {
	first   []byte
	outputs [][]*os.File
	ends    int
}

func (s *pipes) open(first byte, _ []string) (theirs [3]*os.File, end func(), err error) {
	if theirs[0], err = os.Open(os.DevNull); err != nil {
		return theirs, nil, err
	}
	var ours []*os.File
	for n := 1; n < 3; n++ {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, nil, err
		}
		theirs[n], ours = w, append(ours, r)
	}
	s.first, s.outputs = append(s.first, first), append(s.outputs, ours)
	return theirs, func() { s.ends++ }, nil
}

// The host has given a command's streams to someone before it is started. When the start is
// refused, they end all the same: the next command's would else go there.
func TestTheStreamsOfARefusedCommandEnd(t *testing.T) {
	p, s := newPod(t), &pipes{}
	p.Open = s.open
	p.containers["first"] = &container{Container: p.Guest.Pod.Containers[0], state: running}
	d := p.mustPrepare(t, "redis-cli", "ping")
	p.containers["first"].state = ended
	q := api.ContainerParams{Container: "first", Exec: d.Exec}
	for _, want := range []string{"container first: does not run", "has ended"} {
		if err := p.startCommand(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if len(s.first) != 1 || s.first[0] != d.First {
		t.Fatalf("got %v opened, want %d once", s.first, d.First)
	}
	for _, r := range s.outputs[0] {
		if b, err := io.ReadAll(r); len(b) > 0 || err != nil {
			t.Errorf("got %q, %v, want an end", b, err)
		}
	}
	if err := p.removeCommand(q); err != nil || s.ends != 1 {
		t.Errorf("got %v and %d ends, want one", err, s.ends)
	}
}

// nothing runs there.
type nothing struct{ Processes }

func (nothing) Start([]string, *os.ProcAttr) (int, <-chan unix.WaitStatus, error) {
	return 0, nil, errors.New("no process can be made")
}

func TestAContainerThatCouldNotStartIsStartedNoMore(t *testing.T) {
	p, s := newPod(t), &pipes{}
	p.Open = s.open
	g := &guest{Config: Config{Processes: nothing{}}}
	p.containers["first"] = &container{Container: p.Guest.Pod.Containers[0], state: created, guest: g, bundle: &bundle{dir: t.TempDir()}}
	for _, want := range []string{"no process can be made", "has ended"} {
		if err := p.start("first"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := p.remove("first"); err != nil || len(s.first) != 1 || s.ends != 1 {
		t.Errorf("got %v, %d opened and %d ended, want one", err, len(s.first), s.ends)
	}
}

// While a command is being forgotten, no call has it once more, and no other its streams.
func TestACommandIsForgottenOnce(t *testing.T) {
	p := newPod(t)
	p.containers["first"] = &container{Container: p.Guest.Pod.Containers[0], state: running}
	d := p.mustPrepare(t, "redis-cli", "ping")
	q, ends := api.ContainerParams{Container: "first", Exec: d.Exec}, 0
	p.commands[d.Exec].end = func() {
		if ends++; ends > 1 {
			return
		}
		for _, err := range []error{p.removeCommand(q), p.startCommand(q)} {
			if err == nil || !strings.Contains(err.Error(), "is being removed") {
				t.Errorf("got %v", err)
			}
		}
		if other := p.mustPrepare(t, "redis-cli", "ping"); other.First == d.First {
			t.Error("another has its streams, which have not ended")
		}
	}
	if err := p.removeCommand(q); err != nil || ends != 1 || p.commands[d.Exec] != nil {
		t.Errorf("got %v, ended %d times", err, ends)
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
