package guide

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"holdfast/internal/access"
	"holdfast/internal/api"
	"holdfast/internal/attack"
	"holdfast/internal/ignition/report"
	"holdfast/internal/upstream"
)

func page(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "formats", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// examples are the blocks of a language.
func examples(page, language string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func strictly(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Errorf("%v in %s", err, text)
	}
}

func TestExampleConfigurationHasTheDigestAndPCR8ThatThePageSays(t *testing.T) {
	text := page(t, "guest-configuration.md")
	document := examples(text, "toml")[0]
	sum := sha256.Sum256([]byte(document))
	if want := fmt.Sprintf("\n    sha256:%x\n", sum); !strings.Contains(text, want) {
		t.Errorf("the example's digest is %s", want)
	}
	pcr := sha256.Sum256(append(make([]byte, 32), sum[:]...))
	if want := fmt.Sprintf("\n    %x\n", pcr); !strings.Contains(text, want) {
		t.Errorf("the example's PCR 8 is %s", want)
	}
	var d struct{ Data map[string]string }
	if _, err := toml.Decode(document, &d); err != nil {
		t.Fatal(err)
	}
	strictly(t, d.Data[api.GuestConfigKey], new(api.GuestConfig))
}

// A page's example has every member of its Go type, and no other.
func TestExampleReferenceValuesAreWhole(t *testing.T) {
	example := examples(page(t, "reference-values.md"), "json")[0]
	var v api.ReferenceValues
	strictly(t, example, &v)
	again, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(example)); err != nil {
		t.Fatal(err)
	}
	if compact.String() != string(again) {
		t.Errorf("got %s, the program writes %s", &compact, again)
	}
}

func TestExampleReportOfAttacksIsWhole(t *testing.T) {
	example := examples(page(t, "attack-report.md"), "json")[0]
	var r attack.Report
	strictly(t, example, &r)
	again, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != strings.TrimSpace(example) {
		t.Errorf("got %s, the program writes %s", example, again)
	}
}

func TestExampleLinesOfTheControlChannelAreRead(t *testing.T) {
	text := page(t, "control-channel.md")
	blocks := examples(text, "json")
	for line := range strings.Lines(blocks[0]) {
		strictly(t, line, new(api.Call))
	}
	details := map[string]any{api.EventStage: new(api.StageDetail), api.EventExited: new(api.ExitDetail)}
	for line := range strings.Lines(blocks[1]) {
		var e api.Event
		strictly(t, line, &e)
		if detail := details[e.Event]; detail != nil {
			strictly(t, string(e.Detail), detail)
		}
	}
	for _, name := range []string{
		api.CallStatus, api.CallSignal, api.CallStop, api.CallStdin, api.EventReply, api.EventStage, api.EventRefused,
		api.EventStarted, api.EventExited, api.ControlPort, api.StdioPort,
	} {
		if !strings.Contains(text, "| `"+name+"` |") {
			t.Errorf("the page has no row for %s", name)
		}
	}
}

func TestExampleRulesAndUpstreamsAreRead(t *testing.T) {
	dir := t.TempDir()
	save := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	r, err := access.Load(save("access.yaml", examples(page(t, "access.md"), "yaml")[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user       string
		action     access.Action
		repository string
		want       bool
	}{
		{"", access.Pull, "team/app", true}, {"ci", access.Pull, "team/secret-plan", false}, {"ci", access.Push, "home/ci/a/b", true},
		{"ci", access.Delete, "team/app", false}, {"alice", access.Pull, "home/ci/a", false},
	} {
		if got := r.May(c.user, c.action, c.repository); got != c.want {
			t.Errorf("%q %s %s: %v", c.user, c.action, c.repository, got)
		}
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	save("corp-ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	save("docker.json", `{"auths": {"https://index.docker.io/v1/": {"username": "u", "password": "p"}}}`)
	s, _, err := upstream.Load(save("upstreams.yaml", examples(page(t, "upstreams.md"), "yaml")[0]), upstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if prefix, ok := s.Prefix("registry.corp.example:443"); !ok || prefix != "corp" {
		t.Errorf("got %q", prefix)
	}
}

func TestExampleReportOfProvisioningIsWhole(t *testing.T) {
	text := page(t, "ignition-report.md")
	var r report.Report
	strictly(t, examples(text, "json")[0], &r)
	if r.Version != report.Version || r.Status != report.Failed || len(r.Stages) != 2 || r.Failure.Path == "" || r.Previous == nil {
		t.Errorf("the example reads as %+v", r)
	}
}
