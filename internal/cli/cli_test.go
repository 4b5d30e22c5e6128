package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/blob"
	"holdfast/internal/image/transport"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// call runs the command line and gives its exit code and what it printed.
func call(ctx context.Context, t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	state := filepath.Join(t.TempDir(), "state")
	code = Main(ctx, Process{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems,
		Getenv: func(name string) string { return map[string]string{"HOLDFAST_STATE": state}[name] },
	})
	return code, out.String(), problems.String()
}

func TestVersionIsTold(t *testing.T) {
	code, out, _ := call(t.Context(), t, "--version")
	if code != 0 || !strings.HasPrefix(out, "holdfast version ") {
		t.Errorf("got %d and %q", code, out)
	}
}

func TestAnInterruptedVerbSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, problems := call(ctx, t, "broker", "list", "--broker", "http://127.0.0.1:1")
	if code != exitInterrupted || problems != "holdfast: interrupted\n" {
		t.Errorf("got %d and %q, want %d", code, problems, exitInterrupted)
	}
}

func TestExitCodesTellARefusalFromAFailure(t *testing.T) {
	ended := func(r machine.Reason) error {
		return refusedError{outcome: machine.Outcome{Reason: r, Refusal: &api.RefusedDetail{}, Corrupt: &machine.CorruptBlock{}}, report: &wiring.Report{}}
	}
	for _, c := range []struct {
		err  error
		want int
	}{
		{ended(machine.Refused), exitRunRefused},
		{ended(machine.FirmwareRefused), exitRunRefused},
		{ended(machine.VerityCorruption), exitRunRefused},
		{ended(machine.Died), exitRunFailed},
		{ended(machine.KernelPanic), exitRunFailed},
		{runError{fmt.Errorf("copy: %w", transport.ErrDigest)}, exitRunRefused},
		{runError{errors.New("something else")}, exitRunFailed},
		{fmt.Errorf("package x: %w", &blob.MismatchError{}), exitRefused},
		{exitCode(&api.ExitDetail{Code: 7}), 7},
		{exitCode(&api.ExitDetail{Code: 256}), exitRunFailed},
	} {
		a := &app{Process: Process{Stderr: &bytes.Buffer{}}}
		if got := a.report(nil, c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
}

func TestWordsFromElsewhereDoNotReachTheTerminalRaw(t *testing.T) {
	var problems bytes.Buffer
	a := &app{Process: Process{Stderr: &problems}}
	a.report(nil, errors.New("the registry answers \x1b]0;owned\a\x1b[2J no"))
	var out bytes.Buffer
	printImage(&out, transport.Image{Platform: "linux/\x1b[2Jamd64", Layers: []transport.Layer{{MediaType: "a\rb"}}})
	for _, text := range []string{problems.String(), out.String()} {
		if strings.ContainsAny(text, "\x1b\a\r") || strings.Count(text, "\n") == 0 {
			t.Errorf("got %q", text)
		}
	}
}

func TestSecretsThatTheBrokerWouldRefuseAreRefusedFirst(t *testing.T) {
	for _, words := range [][]string{{"a="}, {".a=x"}, {"a=1", "a=2"}, {"a=" + strings.Repeat("x", 2<<20+1)}} {
		_, err := parseSecrets(words)
		if err == nil || len(err.Error()) > 100 {
			t.Errorf("%.20q: got %v, want a short refusal", words, err)
		}
	}
}

func TestWithoutAHomeTheStateIsNeverInTheWorkingFolder(t *testing.T) {
	a := &app{Process: Process{Getenv: func(string) string { return "" }}}
	if dir := a.defaultState(); !filepath.IsAbs(dir) {
		t.Errorf("got %q", dir)
	}
}

func TestRegistriesAreGivenTheCredentialsOfDockerLogin(t *testing.T) {
	var known atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if name != "alice" || password != "wonder" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		known.Store(true)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	config := t.TempDir()
	login := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("alice:wonder")))
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(login), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", config)
	code, _, problems := call(t.Context(), t, "image", "inspect", host+"/app:v1")
	if !known.Load() || code != exitFailed || strings.Contains(problems, "wonder") {
		t.Errorf("known: %v, got %d and %q", known.Load(), code, problems)
	}
}
