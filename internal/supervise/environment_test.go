package supervise

import (
	"slices"
	"testing"
)

func TestAnEnvironmentFileIsReadAsTheManualSays(t *testing.T) {
	for text, want := range map[string][]string{
		"A=b\n\n# c\n; d\nE = f g \n": {"A=b", "E=f g"}, "A='x y'\\''z'\n": {"A=x y''z'"}, "A=\"a\\\"b\\$c\\d\"\n": {`A=a"b$c\d`},
		"A=b\\\nc\nD=e": {"A=bc", "D=e"}, "A='1\n2'\nB=3": {"A=1\n2", "B=3"}, "A=": {"A="}, "A=b#c": {"A=b#c"}, "no line": nil, "A=\\#\\ x": {"A=# x"},
		"# goes on \\\nA=b\nC=d": {"C=d"}, "\tA=b\t\r\n": {"A=b"}, "A=b'c'": {"A=b'c'"},
	} {
		got, err := parseEnvFile(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{"\nA='b\n": "line 2: a quote is not closed", "A=b\n1=c": "line 2: no name of a variable before =", "A=\x00": "has a NUL in it"} {
		if _, err := parseEnvFile(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
