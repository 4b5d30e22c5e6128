package story

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/internal/cli"
)

// help gives what a verb says of itself, as a person sees it.
func help(t *testing.T, words ...string) string {
	t.Helper()
	var out, problems bytes.Buffer
	code := cli.Main(context.Background(), cli.Process{
		Args: append(words, "--help"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems,
		Getenv: func(string) string { return "" },
	})
	if code != 0 {
		t.Fatalf("%v --help: exit code %d: %s", words, code, problems.String())
	}
	return out.String()
}

var (
	commandList = regexp.MustCompile(`(?s)Available Commands:\n(.*?)\n\n`)
	exampleText = regexp.MustCompile(`(?s)Examples:\n(.*?)\n\n`)
	commandName = regexp.MustCompile(`(?m)^  (\S+)`)
)

// walk calls f with every verb and its help.
func walk(t *testing.T, words []string, f func(verb, text string)) {
	text := help(t, words...)
	list := commandList.FindStringSubmatch(text)
	if list == nil {
		f(strings.Join(words, " "), text)
		return
	}
	for _, m := range commandName.FindAllStringSubmatch(list[1], -1) {
		if m[1] != "help" {
			walk(t, append(words[:len(words):len(words)], m[1]), f)
		}
	}
}

func TestEveryVerbTellsExampleExitCodesAndJSON(t *testing.T) {
	verbs := 0
	walk(t, nil, func(verb, text string) {
		verbs++
		for what, want := range map[string]string{
			"an example": "\nExamples:\n  ", "its exit codes": "\nExit codes: ", "usage as code 2": "2 usage", "--json": " --json ",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("holdfast %s --help does not tell %s (%q):\n%s", verb, what, want, text)
			}
		}
		if example := exampleText.FindString(text); !strings.Contains(example, "holdfast "+verb) {
			t.Errorf("holdfast %s --help: the example is of something else:\n%s", verb, example)
		}
		for _, line := range strings.Split(text, "\n") {
			if isProse := !strings.HasPrefix(line, " "); isProse && utf8.RuneCountInString(line) > 80 {
				t.Errorf("holdfast %s --help: line of %d characters: %s", verb, utf8.RuneCountInString(line), line)
			}
		}
	})
	if verbs < 15 {
		t.Errorf("found %d verbs, want at least 15: is the help still read rightly?", verbs)
	}
}

// TestEveryVerbRefusesAnUnknownFlagAsJSON holds every verb to the promise that
// an error is one object, code 2 for wrong words.
func TestEveryVerbRefusesAnUnknownFlagAsJSON(t *testing.T) {
	walk(t, nil, func(verb, _ string) {
		var out, problems bytes.Buffer
		code := cli.Main(context.Background(), cli.Process{
			Args: append(strings.Fields(verb), "--json", "--no-such-flag"), Stdin: strings.NewReader(""), Stdout: &out,
			Stderr: &problems, Getenv: func(string) string { return t.TempDir() },
		})
		if err := toldJSON(problems.String(), 2); code != 2 || err != nil || out.Len() != 0 {
			t.Errorf("holdfast %s: got code %d, %v, standard output %q", verb, code, err, out.String())
		}
	})
}
