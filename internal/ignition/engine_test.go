package ignition

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// A machine's files, and what its stages were given.
type machine struct {
	Config
	dir string
	ran []types.Config
}

func (m *machine) Name() string { return "files" }

func (m *machine) Run(_ context.Context, c types.Config) error {
	m.ran = append(m.ran, c)
	return nil
}

func newMachine(t *testing.T, config string) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir()}
	at := func(name string) string { return filepath.Join(m.dir, name) }
	m.Config = Config{Cache: at("cache"), NeedNet: at("net/needed"), State: at("state"), SystemDir: at("system"), Platform: "test",
		Load: func(_ string, raw []byte, _ bool) (types.Config, error) {
			c, _, err := latest.Parse(raw)
			return c, err
		},
		Render: func(_ context.Context, _ string, c types.Config, _ bool, _ SettingsFetch, _ Admit) (types.Config, []string, error) {
			return c, []string{"http://elsewhere/x"}, nil
		},
		Provide: func(context.Context, Ask) (Provided, error) { return Provided{Raw: []byte(config)}, nil },
		Fetch: func(_ context.Context, _ types.Ignition, r types.Resource, w io.Writer) error {
			_, err := io.WriteString(w, "fetched "+*r.Source)
			return err
		},
		Stage: func(string, *State, Fetch) (Stage, error) { return m, nil },
	}
	return m
}

func (m *machine) run(t *testing.T, stages ...string) {
	t.Helper()
	for _, s := range stages {
		check(t, Run(t.Context(), s, m.Config))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const head = `{"ignition":{"version":"3.7.0-experimental"`

func TestALaterStageAppliesWhatTheFetchStageKept(t *testing.T) {
	m := newMachine(t, head+`},"storage":{"files":[{"path":"/own"}]}}`)
	check(t, os.MkdirAll(filepath.Join(m.SystemDir, "base.d"), 0o755))
	check(t, os.MkdirAll(filepath.Join(m.SystemDir, "base.platform.d/test"), 0o755))
	check(t, os.WriteFile(filepath.Join(m.SystemDir, "base.d/1.ign"), []byte(head+`},"storage":{"files":[{"path":"/base"}]}}`), 0o600))
	check(t, os.WriteFile(filepath.Join(m.SystemDir, "base.platform.d/test/1.ign"), []byte(head+`},"storage":{"files":[{"path":"/platform"}]}}`), 0o600))
	m.run(t, "fetch", "files")
	var paths []string
	for _, f := range m.ran[0].Storage.Files {
		paths = append(paths, f.Path)
	}
	if got := strings.Join(paths, " "); got != "/base /platform /own" {
		t.Errorf("applied %s", got)
	}
	s, err := LoadState(m.Config.State)
	check(t, err)
	if len(s.FetchedConfigs) != 2 || !s.FetchedConfigs[1].Referenced {
		t.Errorf("recorded %+v", s.FetchedConfigs)
	}
}

func TestTheCommandLineComesFirstAndThenTheDistribution(t *testing.T) {
	m := newMachine(t, head+`}}`)
	var got []string
	m.Load = func(name string, raw []byte, _ bool) (types.Config, error) {
		got = append(got, name+": "+string(raw))
		return types.Config{}, nil
	}
	check(t, os.MkdirAll(m.SystemDir, 0o755))
	check(t, os.WriteFile(filepath.Join(m.SystemDir, "user.ign"), []byte("of the distribution"), 0o600))
	m.run(t, "fetch")
	m.CommandLine = "quiet ignition.config.url=http://a ignition.config.url=http://b rw"
	m.run(t, "fetch")
	if want := "system: of the distribution|cmdline: fetched http://b"; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
}

func TestFetchOfflineAsksForTheNetworkOnlyWhenItIsNeeded(t *testing.T) {
	for config, needs := range map[string]bool{
		head + `}}`: false,
		head + `},"storage":{"files":[{"path":"/f","contents":{"source":"data:,x"}}]}}`:                                                                     false,
		head + `},"storage":{"files":[{"path":"/f","contents":{"source":"https://x/y"}}]}}`:                                                                 true,
		head + `},"storage":{"luks":[{"name":"v","device":"/dev/x","clevis":{"tang":[{"url":"http://t","thumbprint":"x"}]}}]}}`:                             true,
		head + `},"storage":{"luks":[{"name":"v","device":"/dev/x","clevis":{"tang":[{"url":"http://t","thumbprint":"x","advertisement":"{\"a\":1}"}]}}]}}`: false,
		head + `,"security":{"tls":{"certificateAuthorities":[{"source":"http://x/ca"}]}}}}`:                                                                true,
	} {
		m := newMachine(t, config)
		m.run(t, "fetch-offline")
		_, err := os.Stat(m.NeedNet)
		if (err == nil) != needs {
			t.Errorf("%s: asked is %v, want %v", config, err == nil, needs)
		}
	}
}

func TestAuthoritiesAreKeptWhereLaterStagesHaveNoNetwork(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	m := newMachine(t, head+`,"security":{"tls":{"certificateAuthorities":[{"source":"http://x/ca","compression":"gzip"}]}}}}`)
	m.Fetch = func(_ context.Context, _ types.Ignition, _ types.Resource, w io.Writer) error {
		_, err := w.Write(ca)
		return err
	}
	m.run(t, "fetch", "files")
	kept := m.ran[0].Ignition.Security.TLS.CertificateAuthorities[0]
	if want := *dataURL(ca); *kept.Source != want || kept.Compression != nil {
		t.Errorf("kept %s", *kept.Source)
	}
}

func TestAnAuthorityThatIsNoneIsRefusedByItsPlace(t *testing.T) {
	m := newMachine(t, head+`,"security":{"tls":{"certificateAuthorities":[{"source":"data:,CANARY"}]}}}}`)
	err := Run(t.Context(), "fetch", m.Config)
	if err == nil || !strings.Contains(err.Error(), "$.ignition.security.tls.certificateAuthorities[0]: has no PEM block") || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v", err)
	}
}

func TestAnEmptyConfigIsOne(t *testing.T) {
	m := newMachine(t, "")
	m.run(t, "fetch", "files")
	raw, err := json.Marshal(m.ran[0].Storage)
	check(t, err)
	if string(raw) != "{}" {
		t.Errorf("applied %s", raw)
	}
}

func TestAStageBeforeTheFetchStageSaysSo(t *testing.T) {
	err := Run(t.Context(), "files", newMachine(t, head+`}}`).Config)
	if err == nil || !strings.Contains(err.Error(), "run that first") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAnyConfigTheFetchStageFails(t *testing.T) {
	m := newMachine(t, "")
	m.Provide = func(context.Context, Ask) (Provided, error) { return Provided{}, ErrNoConfig }
	if err := Run(t.Context(), "fetch", m.Config); !errors.Is(err, ErrNoConfig) {
		t.Errorf("got %v", err)
	}
}

func TestAConfigIsMeasuredOnceAndBeforeItIsParsed(t *testing.T) {
	m := newMachine(t, "not yet admitted")
	var did []string
	m.Admit = func(_ context.Context, source string, raw []byte, _ bool) ([]byte, error) {
		did = append(did, "admit "+source)
		return []byte(head + `}}`), nil
	}
	m.Measure = func(_ context.Context, source string, config []byte) error {
		did = append(did, "measure "+source+" "+string(config[:10]))
		return nil
	}
	load := m.Load
	m.Load = func(name string, raw []byte, local bool) (types.Config, error) {
		did = append(did, "load")
		return load(name, raw, local)
	}
	m.run(t, "fetch-offline", "fetch")
	if want := `admit test|measure test {"ignition|load|admit test|load`; strings.Join(did, "|") != want {
		t.Errorf("did %s, want %s", strings.Join(did, "|"), want)
	}
	m = newMachine(t, head+`}}`)
	m.Measure = func(context.Context, string, []byte) error { return errors.New("no TPM") }
	m.Load = func(string, []byte, bool) (types.Config, error) {
		t.Error("parsed what was not measured")
		return types.Config{}, nil
	}
	if err := Run(t.Context(), "fetch", m.Config); err == nil || err.Error() != "stage fetch: no TPM" {
		t.Errorf("got %v", err)
	}
}

func TestHowAStageEndedIsReported(t *testing.T) {
	m := newMachine(t, head+`,"timeouts":{"httpTotal":7}}}`)
	var got []Outcome
	m.Report = func(_ context.Context, o Outcome) { got = append(got, o) }
	m.run(t, "fetch")
	m.Stage = func(string, *State, Fetch) (Stage, error) { return nil, errors.New("broken") }
	if err := Run(t.Context(), "files", m.Config); err == nil {
		t.Error("the stage did not fail")
	}
	if len(got) != 2 || got[0].Err != nil || len(got[0].Configs) != 2 || got[1].Err == nil || *got[1].Settings.Timeouts.HTTPTotal != 7 || got[1].Started.IsZero() {
		t.Errorf("told %+v", got)
	}
}
