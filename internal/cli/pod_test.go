package cli

import (
	"slices"
	"strings"
	"testing"
)

func TestCommandsOfAPodAreReadAsWordsOrJSON(t *testing.T) {
	got, err := podCommands([]string{"redis=redis-cli  ping", `redis={"args": ["sh"], "terminal": true, "streams": ["stdin"]}`})
	if err != nil {
		t.Fatal(err)
	}
	words, object := got["redis"][0], got["redis"][1]
	if !slices.Equal(words.Args, []string{"redis-cli", "ping"}) || !slices.Equal(words.Streams, []string{"logs"}) || words.Terminal {
		t.Errorf("words: got %+v, want them with their output", words)
	}
	if !slices.Equal(object.Args, []string{"sh"}) || !object.Terminal || !slices.Equal(object.Streams, []string{"stdin"}) {
		t.Errorf("an object: got %+v", object)
	}
	for word, want := range map[string]string{
		"redis": "want CONTAINER=COMMAND", "=ls": "want CONTAINER=COMMAND", "redis= ": "want CONTAINER=COMMAND",
		`redis={"args": ["sh"], "tty": true}`: `unknown field "tty"`, `redis={"streams": ["logs"]}`: "want CONTAINER=COMMAND",
	} {
		if _, err := podCommands([]string{word}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", word, err, want)
		}
	}
}
