package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/input"
)

// A Source is an archive's root and a suite in it.
type Source struct {
	URI        string // http or https, without a slash at its end
	Suite      string
	Components []string // as "main"
}

// ReadSources reads apt's configuration below root, which is /etc/apt on a
// Debian machine: sources.list and sources.list.d, in both of their forms
// (sources.list(5)). Entries that are not binary packages over HTTP are left out.
func ReadSources(root string) ([]Source, error) {
	files, _ := filepath.Glob(filepath.Join(root, "sources.list.d", "*"))
	slices.Sort(files)
	var found []Source
	for _, path := range append([]string{filepath.Join(root, "sources.list")}, files...) {
		parse := map[string]func(string) []Source{".list": oneLine, ".sources": deb822}[filepath.Ext(path)]
		if parse == nil {
			continue
		}
		b, err := input.ReadFile(path, input.Document)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("apt sources: %w", err)
		}
		found = append(found, parse(uncomment(b))...)
	}
	return withHTTP(root, found), nil
}

// uncomment drops comment lines, and the blanks that end lines: a line of
// blanks separates paragraphs as an empty one does.
func uncomment(b []byte) string {
	var out strings.Builder
	for line := range bytes.Lines(b) {
		if line = bytes.TrimRight(line, " \t\r\n"); len(line) == 0 || line[0] != '#' {
			out.Write(line)
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// oneLine reads lines such as "deb [arch=amd64] URI SUITE COMPONENT… # comment".
func oneLine(text string) []Source {
	var found []Source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || !strings.ContainsAny(rest[:1], " \t") {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			found = append(found, Source{URI: f[0], Suite: f[1], Components: f[2:]})
		}
	}
	return found
}

// deb822 reads stanzas of Types, URIs and Suites.
func deb822(text string) []Source {
	var found []Source
	for p := range Paragraphs(strings.NewReader(text)) {
		if !slices.Contains(p.fields("Types"), "deb") || strings.EqualFold(p.Get("Enabled"), "no") {
			continue
		}
		for _, uri := range p.fields("URIs") {
			for _, suite := range p.fields("Suites") {
				found = append(found, Source{URI: uri, Suite: suite, Components: p.fields("Components")})
			}
		}
	}
	return found
}

// withHTTP keeps what HTTP reaches. Debian's cloud images name their mirrors
// in a file of their own (apt-transport-mirror(1)); its first entry counts.
func withHTTP(root string, sources []Source) []Source {
	var kept []Source
	for _, s := range sources {
		if file, ok := strings.CutPrefix(s.URI, "mirror+file:"); ok {
			s.URI = firstMirror(root, filepath.Clean(file))
		}
		if strings.HasPrefix(s.URI, "http://") || strings.HasPrefix(s.URI, "https://") {
			s.URI = strings.TrimRight(s.URI, "/")
			kept = append(kept, s)
		}
	}
	return kept
}

func firstMirror(root, path string) string {
	if below, ok := strings.CutPrefix(path, "/etc/apt/"); ok {
		path = filepath.Join(root, below)
	}
	b, err := input.ReadFile(path, input.Document)
	if err != nil {
		return ""
	}
	words := strings.Fields(uncomment(b))
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// archives gives the roots that may hold suite, in order. A machine of
// another release still knows where the archive is: there the plain suite lies
// beside other plain ones, and security beside security.
func (a *Archive) archives(suite string) []string {
	if a.cfg.Mirror != "" {
		mirror := strings.TrimRight(a.cfg.Mirror, "/")
		if kind(suite) == "security" {
			if u, err := url.Parse(mirror); err != nil || u.Path == "" {
				return nil // at a host's root, nothing is beside it
			}
			mirror += "-security"
		}
		return []string{mirror}
	}
	var same, alike []string
	for _, s := range a.cfg.Sources {
		if !slices.ContainsFunc(s.Components, func(c string) bool { return slices.Contains(a.cfg.Components, c) }) {
			continue // another vendor's, most likely
		}
		if s.Suite == suite {
			same = append(same, s.URI)
		} else if kind(s.Suite) == kind(suite) {
			alike = append(alike, s.URI)
		}
	}
	if len(same) > 0 {
		return dedupe(same)
	}
	return dedupe(alike)
}

// kind is what a suite is for: "updates", "security", … or "" for a release.
func kind(suite string) string {
	_, kind, _ := strings.Cut(suite, "-")
	return kind
}

func dedupe(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
