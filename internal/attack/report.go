package attack

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

// A Report is what a lab's attacks came to.
type Report struct {
	Time         time.Time       `json:"time"`
	Version      string          `json:"version"`          // of the program
	Seed         uint64          `json:"seed,omitempty"`   // of the sample
	Sample       int             `json:"sample,omitempty"` // of the attacks that boot; 0: all of them
	Results      []Result        `json:"results"`
	Count        map[Verdict]int `json:"count"`
	Milliseconds int64           `json:"milliseconds"`
}

// Held says whether every attack was held.
func (r *Report) Held() bool { return len(r.Results) == r.Count[Held] }

// Sum says in a few words what came of all.
func (r *Report) Sum() string {
	text := fmt.Sprintf("%d of %d attacks were held", r.Count[Held], len(r.Results))
	for _, v := range []Verdict{Broken, Wrong, Failed, NotRun} {
		if n := r.Count[v]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, verdicts[v])
		}
	}
	return text
}

// verdicts are their words for people.
var verdicts = map[Verdict]string{
	Held: "held", Broken: "broke through", Wrong: "refused for another reason", Failed: "failed in the lab", NotRun: "not made",
}

// Controls are what succeeded, or failed, without any change, in order.
func (r *Report) Controls() (names []string) {
	seen := map[string]bool{}
	for _, result := range r.Results {
		if !seen[result.Control] {
			names = append(names, result.Control)
		}
		seen[result.Control] = true
	}
	return names
}

//go:embed report.html
var page string

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer) error {
	functions := template.FuncMap{
		"short": Short, "words": func(v Verdict) string { return verdicts[v] },
		"seconds": seconds,
		"groups":  r.groups, "title": func(s string) string { return strings.ToUpper(s[:1]) + s[1:] },
	}
	t, err := template.New("report").Funcs(functions).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

func seconds(ms int64) string {
	switch {
	case ms < 1:
		return "under 1 ms"
	case ms < 1000:
		return fmt.Sprintf("%d ms", ms)
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}

// A part is a group's attacks, by the promise that they try to break.
type part struct {
	Name       string
	Made, Held int
	Promises   []promise
}

type promise struct {
	Text    string
	Results []Result
}

func (r *Report) groups() (list []part) {
	for _, name := range Groups() {
		p := part{Name: name}
		for _, result := range r.Results {
			if result.Group == name {
				p.add(result)
			}
		}
		if len(p.Promises) > 0 {
			list = append(list, p)
		}
	}
	return list
}

func (p *part) add(r Result) {
	p.Made++
	if r.Verdict == Held {
		p.Held++
	}
	i := slices.IndexFunc(p.Promises, func(other promise) bool { return other.Text == r.Promise })
	if i < 0 {
		i = len(p.Promises)
		p.Promises = append(p.Promises, promise{Text: r.Promise})
	}
	p.Promises[i].Results = append(p.Promises[i].Results, r)
}
