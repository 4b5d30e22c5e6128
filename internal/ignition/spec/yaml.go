package spec

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/vcontext/report"
)

// fromYAML gives the places of a report on Butane, which correlates it itself.
func fromYAML(name string, r report.Report) []Finding {
	var list []Finding
	for _, e := range r.Entries {
		f := Finding{Severity: e.Kind.String(), File: name, Path: jsonPath(e.Context.Path)}
		f.Line, f.Column = e.Marker.Start()
		f.Problem, f.Want = tellYAML(e.Message, f.Path)
		list = append(list, f)
	}
	slices.SortStableFunc(list, byPlace)
	return list
}

var (
	yamlLine = regexp.MustCompile(`line (\d+): `)
	// What YAML and Butane quote of the text may be a secret.
	quoted = regexp.MustCompile("(?s)`.*`|\".*\"|'.*'")
)

// decoding are words of what does not decode.
var decoding = regexp.MustCompile(`(?i)base64|rfc2396|data ?url|data character|mime`)

// tellYAML keeps the words of Butane's own errors, without what they quote.
func tellYAML(message, path string) (problem, want string) {
	problem, want = tell(message, path)
	switch {
	case byMessage[message] != "", want == "", decoding.MatchString(message), strings.HasPrefix(message, "invalid unit content"):
		return problem, want
	}
	return quoted.ReplaceAllString(message, "…"), ""
}

// yamlFinding is an error that comes without a report: the text is no YAML, or
// has a value of another kind.
func yamlFinding(name string, err error) Finding {
	text := quoted.ReplaceAllString(err.Error(), "…")
	f := Finding{Severity: severityError, File: name, Path: "$"}
	if m := yamlLine.FindStringSubmatchIndex(text); m != nil {
		f.Line, _ = strconv.ParseInt(text[m[2]:m[3]], 10, 64)
		f.Column = 1
		text = text[m[1]:]
	}
	f.Problem, _, _ = strings.Cut(text, "\n")
	if m := yamlKind.FindStringSubmatch(f.Problem); m != nil {
		f.Problem, f.Want = "is "+withArticle(yamlKinds[m[1]]), kindOf(m[2])
	}
	return f
}

// yamlKinds are JSON's words for YAML's (YAML 1.2.2, chapter 10).
var (
	yamlKind  = regexp.MustCompile(`^cannot unmarshal !!(\w+)(?: …)? into (\S+)$`)
	yamlKinds = map[string]string{"str": "string", "int": "number", "float": "number", "bool": "bool", "seq": "array", "map": "object", "null": "null", "timestamp": "time"}
)
