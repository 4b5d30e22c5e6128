package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// completes gives what the last of words may be, as every shell's script asks.
func completes(t *testing.T, words ...string) string {
	t.Helper()
	code, out, problems := call(t.Context(), t, append([]string{"__completeNoDesc"}, words...)...)
	if code != exitOK {
		t.Fatalf("%v: exit code %d: %s", words, code, problems)
	}
	return out
}

// aRun is what a run left in a state folder.
func aRun(t *testing.T, state, name, record string) {
	t.Helper()
	dir := filepath.Join(state, "machines", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWordsAreCompleted(t *testing.T) {
	state := t.TempDir()
	aRun(t, state, "db", `{"name":"db","state":"exited","exit_code":0,"ended":"2026-05-04T12:00:00Z"}`)
	aRun(t, state, "web", `{"name":"web","state":"running"}`)
	for _, c := range []struct {
		words     []string
		want, not string
	}{
		{[]string{"l"}, "logs\n", "run"},
		{[]string{"run-d"}, ":", "run-detached"},
		{[]string{"--state", state, "logs", ""}, "db\nweb\n", ":0"},
		{[]string{"--state", state, "stop", ""}, "web\n", "db"},
		{[]string{"--state", state, "rm", "db", ""}, "web\n", "db"},
		{[]string{"run", "--accel", ""}, "auto\nkvm\ntcg\n", ":0"},
		{[]string{"run", "--log", ""}, "file\nnone\n", ":0"},
		{[]string{"run", "--name", ""}, ":4", "\n\n"},
		{[]string{"image", "build", "--format", ""}, "oci\nmachine\n", ":0"},
		{[]string{"image", ""}, "lock\n", "run"},
		{[]string{"completion", ""}, "bash\nzsh\nfish\npowershell\n", ":0"},
		{[]string{"attack", "layer-"}, "\nlayer-flipped\n", ":0"},
		{[]string{"run", "../../images/"}, "../../images/redis\n", "\n:4"},
	} {
		if got := completes(t, c.words...); !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%v: got %q, want %q and not %q", c.words, got, c.want, c.not)
		}
	}
}

// shellChecks read a script in its own shell: bash, zsh and fish define their
// functions, and none complains.
var shellChecks = map[string]string{
	"bash": `source /usr/share/bash-completion/bash_completion; source /dev/stdin && COMP_WORDS=(holdfast key l) COMP_CWORD=2 COMP_LINE="holdfast key l" COMP_POINT=14 && __start_holdfast && echo "${COMPREPLY[@]}"`,
	"zsh":  `autoload -U compinit && compinit -D -u && source /dev/stdin && (( $+functions[_holdfast] )) && echo list`,
	"fish": `source - && complete -C "holdfast key l"`,
}

func TestTheShellsTakeTheirScripts(t *testing.T) {
	program := filepath.Join(t.TempDir(), "holdfast")
	if out, err := exec.Command("go", "build", "-o", program, "holdfast/cmd/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for shell, check := range shellChecks {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(shell, "is not installed: make test installs it")
			}
			if _, err := os.Stat("/usr/share/bash-completion/bash_completion"); shell == "bash" && err != nil {
				t.Skip("bash-completion is not installed: make test installs it")
			}
			script, err := exec.Command(program, "completion", shell).Output()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, "-c", check)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "HOLDFAST_STATE="+t.TempDir())
			cmd.Stdin = strings.NewReader(string(script))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "list") {
				t.Errorf("got %v: %s, want the verb list", err, out)
			}
		})
	}
}

func TestAShellThatNobodyKnowsIsRefused(t *testing.T) {
	code, _, problems := call(t.Context(), t, "completion", "tcsh")
	if code != exitUsage || !strings.Contains(problems, "want bash, zsh, fish, powershell") {
		t.Errorf("got %d and %q", code, problems)
	}
}
