package provision

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/events"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/ignition/report"
	"holdfast/internal/keys"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
)

// A machine is a folder that the engine is called for as an initramfs calls it.
type machine struct {
	dir  string
	more []string // flags
	said string
}

func newMachine(t *testing.T, files map[string]string) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir()}
	for _, dir := range []string{"root", "disk"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(m.dir, "disk", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *machine) run(t *testing.T, stage string) int {
	t.Helper()
	var out strings.Builder
	at := func(name string) string { return filepath.Join(m.dir, name) }
	env := map[string]string{"IGNITION_CONFIG_FILE": at("disk/config.ign"), "IGNITION_SYSTEM_CONFIG_DIR": at("system")}
	args := append([]string{"-platform", "file", "-stage", stage, "-root", at("root"), "-config-cache", at("run/cache"), "-state-file", at("run/state"),
		"-neednet", at("run/net"), "-fetch-timeout", "30s", "-log-to-stdout"}, m.more...)
	if err := os.MkdirAll(at("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	code := Command{Args: args, Env: func(name string) string { return env[name] }, Stdout: &out, Stderr: &out}.Run(t.Context())
	m.said = out.String()
	return code
}

func (m *machine) has(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(m.dir, "root", name)); err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q\n%s", name, got, err, want, m.said)
	}
}

func config(merge string, files ...string) string {
	var list []string
	for _, f := range files {
		list = append(list, fmt.Sprintf(`{"path":"/%s","contents":{"source":%q}}`, filepath.Base(f), f))
	}
	if merge != "" {
		merge = `,"config":{"merge":[` + merge + `]}`
	}
	return `{"ignition":{"version":"3.4.0"` + merge + `},"storage":{"files":[` + strings.Join(list, ",") + `]}}`
}

func TestALocalConfigTakesFilesFromBesideIt(t *testing.T) {
	m := newMachine(t, map[string]string{
		"config.ign": config(`{"source":"file:///more.ign"}`, "file:///a"), "more.ign": config("", "file:///b"), "a": "of a", "b": "of b"})
	for _, stage := range []string{"fetch-offline", "files"} {
		if code := m.run(t, stage); code != 0 {
			t.Fatal(m.said)
		}
	}
	m.has(t, "a", "of a")
	m.has(t, "b", "of b")
	if _, err := os.Stat(filepath.Join(m.dir, "run/net")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("asked for the network: %v", err)
	}
}

func TestARemoteConfigThatNamesAFileIsRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, config("", "file:///etc/shadow")) }))
	t.Cleanup(s.Close)
	m := newMachine(t, map[string]string{"config.ign": config(fmt.Sprintf(`{"source":"%s/x?CANARY"}`, s.URL))})
	if code := m.run(t, "fetch"); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if want := "CRITICAL : Ignition failed: stage fetch: " + s.URL + "/x:1:92: $.storage.files[0].contents.source: names a file, and the config did not come from a folder or volume of the machine"; !strings.Contains(m.said, want) || strings.Contains(m.said, "CANARY") {
		t.Errorf("said %s\nwant %s", m.said, want)
	}
}

// What the distribution's configs ask for counts as the user's does, and nothing
// is kept for a stage that would begin on it.
func TestWhatTheEngineCannotDoForABaseConfigEndsTheFetchStage(t *testing.T) {
	const tang = `{"ignition":{"version":"3.4.0"},"storage":{"luks":[{"name":"v","device":"/dev/x","clevis":{"tang":[{"url":"http://t","thumbprint":"x"}]}}]}}`
	m := newMachine(t, map[string]string{"config.ign": config("")})
	base := filepath.Join(m.dir, "system/base.d")
	if err := errors.Join(os.MkdirAll(base, 0o755), os.WriteFile(filepath.Join(base, "1.ign"), []byte(tang), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"fetch-offline", "fetch"} {
		if code := m.run(t, stage); code != exitFailed || !strings.Contains(m.said, "stage "+stage+": with the base configs: $.storage.luks[0].clevis.tang: this engine asks no Tang server") {
			t.Errorf("exit code %d, said %s", code, m.said)
		}
		if _, err := os.Stat(filepath.Join(m.dir, "run/cache")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stage %s kept the config: %v", stage, err)
		}
	}
}

// Not once kernel arguments are set and disks are begun.
func TestWhatTheEngineCannotDoEndsTheFetchStage(t *testing.T) {
	const tang = `{"ignition":{"version":"3.4.0"},"storage":{"luks":[{"name":"v","device":"/dev/x","clevis":{"tang":[{"url":"http://t","thumbprint":"x"}]}}]}}`
	m := newMachine(t, map[string]string{"config.ign": tang})
	for _, stage := range []string{"fetch-offline", "fetch"} {
		if code := m.run(t, stage); code != exitFailed || !strings.Contains(m.said, "stage "+stage+": $.storage.luks[0].clevis.tang: this engine asks no Tang server") {
			t.Errorf("exit code %d, said %s", code, m.said)
		}
	}
}

func TestANamedKeyMustHaveSignedAllConfigs(t *testing.T) {
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signed := func(text string) string {
		raw, err := admit.Sign([]byte(text), "c", ring.Statements())
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	more := config("", "data:,of%20more")
	hash := fmt.Sprintf(`{"source":"file:///more.ign","verification":{"hash":"sha256-%x"}}`, sha256.Sum256([]byte(more)))
	for _, c := range []struct{ name, config, more, want string }{
		{"signed", signed(config("", "data:,x")), more, ""},
		{"signed, merges what is signed", signed(config(`{"source":"file:///more.ign"}`)), signed(more), ""},
		{"signed, merges what it names by hash", signed(config(hash)), more, ""},
		{"signed, merges what is not", signed(config(`{"source":"file:///more.ign"}`)), more, "the config is refused: file:///more.ign: nobody signed it"},
		{"not signed", config(""), more, "the config is refused: file: nobody signed it"},
		{"not even parsed", "{{", more, "the config is refused: file: nobody signed it"},
	} {
		m := newMachine(t, map[string]string{"config.ign": c.config, "more.ign": c.more})
		m.more = []string{"-config-key", "sha256:" + sign.KeyID(ring.Statements().Certificate)}
		if code := m.run(t, "fetch"); (code == 0) != (c.want == "") || !strings.Contains(m.said, c.want) {
			t.Errorf("%s: exit code %d, said %s\nwant %s", c.name, code, m.said, c.want)
		}
	}
}

// receiver takes reports, after some trouble.
func receiver(t *testing.T) (url string, got *[]report.Report) {
	t.Helper()
	got = &[]report.Report{}
	trouble := 2
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		var one report.Report
		if trouble--; trouble >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if user, pass, _ := r.BasicAuth(); user != "u" || pass != "CANARY" || err != nil || json.Unmarshal(raw, &one) != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %s from %s, %v", r.Method, raw, user, err)
		}
		*got = append(*got, one)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http://", "http://u:CANARY@", 1), got
}

func TestARunIsReportedToAURLAndKept(t *testing.T) {
	url, got := receiver(t)
	m := newMachine(t, map[string]string{"config.ign": strings.ReplaceAll(config("", "data:,x"), `"/data:,x"`, `"/x"`)})
	m.more = []string{"-report-url", url + "/r?CANARY", "-report-keep", "/var/lib/ignition/report.json"}
	for _, stage := range []string{"fetch", "files"} {
		if code := m.run(t, stage); code != 0 {
			t.Fatal(m.said)
		}
	}
	if len(*got) != 1 || (*got)[0].Status != report.Done || len((*got)[0].Stages) != 2 || strings.Contains(m.said, "CANARY") {
		t.Errorf("reported %+v, said %s", *got, m.said)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "root/x"), []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := m.run(t, "files"); code != exitFailed { // another file is there now, and overwrite is false
		t.Errorf("exit code %d: %s", code, m.said)
	}
	if len(*got) != 2 || (*got)[1].Status != report.Failed || (*got)[1].Failure.Path != "$.storage.files[0]" || !strings.Contains((*got)[1].Failure.Reason, "overwrite is false") {
		t.Errorf("reported %+v", *got)
	}
	raw, err := os.ReadFile(filepath.Join(m.dir, "root/var/lib/ignition/report.json"))
	if err != nil || !bytes.Contains(raw, []byte(`"status": "failed"`)) {
		t.Errorf("kept %s, %v", raw, err)
	}
	m.more = []string{"-report-url", "ftp://u:CANARY@h/"}
	m.run(t, "umount")
	if !strings.Contains(m.said, "Ignition finished") {
		t.Errorf("said %s", m.said)
	}
}

func TestTheKernelsArgumentsCountBeforeFlags(t *testing.T) {
	f := flags{platform: "file", key: "flag", measure: "auto", state: "/run/ignition/state"}
	f.arguments("ignition.platform.id=aws ignition.config.key=sha256:1 ignition.measure=required ignition.report.url=https://h/r ignition.report.keep=/var/r")
	if f.platform != "file" || f.key != "sha256:1" || f.measure != "required" || f.reportURL != "https://h/r" || f.reportKeep != "/var/r" || f.reportFile != "/run/ignition/report.json" {
		t.Errorf("got %+v", f)
	}
	f.platform = ""
	if f.arguments("quiet ignition.platform.id=metal"); f.platform != "metal" {
		t.Errorf("got platform %q", f.platform)
	}
	m := newMachine(t, map[string]string{"config.ign": "{}"})
	for _, more := range [][]string{{"-measure", "often"}, {"-config-key", "sha256:1"}} {
		m.more = more
		if code := m.run(t, "fetch"); code != exitFailed || !strings.Contains(m.said, more[1]) {
			t.Errorf("%v: exit code %d: %s", more, code, m.said)
		}
	}
}

func TestConfigsAreExtendedIntoTheTPMWithALog(t *testing.T) {
	if err := swtpm.Installed(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	chip := swtpm.Config{Dir: filepath.Join(home, "tpm"), CADir: filepath.Join(home, "ca")}
	if err := swtpm.Manufacture(t.Context(), chip); err != nil {
		t.Fatal(err)
	}
	device, err := swtpm.Open(t.Context(), chip.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	m := &measurer{open: func() (transport.TPMCloser, error) { return kept{device}, nil }, firmware: filepath.Join(home, "absent"),
		log: filepath.Join(home, "run/log"), out: newLog(true, io.Discard)}
	want := make([]byte, 32)
	configs := []string{`{"ignition":{"version":"3.4.0"}}`, "of another"}
	for i, text := range configs {
		if err := m.measure(t.Context(), fmt.Sprint("source ", i), []byte(text)); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		want = tpm.SHA256.Extended(want, sum[:])
	}
	read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(configPCR)}}}}.Execute(device)
	if err != nil || !bytes.Equal(read.PCRValues.Digests[0].Buffer, want) {
		t.Errorf("PCR %d is %x, %v, want %x", configPCR, read.PCRValues.Digests[0].Buffer, err, want)
	}
	raw, err := os.ReadFile(m.log)
	if err != nil {
		t.Fatal(err)
	}
	records, err := events.Parse(raw)
	if err != nil || len(records) < 2 {
		t.Fatalf("the log has %d records, %v", len(records), err)
	}
	for i, r := range records[len(records)-2:] {
		if sum := sha256.Sum256([]byte(configs[i])); r.PCR != configPCR || !bytes.Equal(r.SHA256, sum[:]) || string(r.Data) != admit.Event(fmt.Sprint("source ", i)) {
			t.Errorf("record %d is %+v", i, r)
		}
	}
}

type kept struct{ transport.TPM }

func (kept) Close() error { return nil }

func TestAMachineWithoutATPMIsToldWhenOneIsRequired(t *testing.T) {
	for _, required := range []bool{false, true} {
		m := &measurer{required: required, out: newLog(true, io.Discard), open: func() (transport.TPMCloser, error) { return tpm.Open(filepath.Join(t.TempDir(), "tpmrm0")) }}
		err := m.measure(t.Context(), "file", []byte("{}"))
		if (err != nil) != required || required && !strings.HasPrefix(err.Error(), "measure the config: open the TPM: ") {
			t.Errorf("required %v: got %v", required, err)
		}
	}
}
