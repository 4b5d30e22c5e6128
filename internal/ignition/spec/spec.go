// Package spec reads what a machine shall be: Ignition configs of every
// version, and Butane where the program brings a translator.
//
// Whatever the version, the result is one form, the newest of upstream's types.
// What is wrong is told by file, line, column and JSON path, with what was
// expected there, and never with a value, which may be a secret.
package spec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/ignition/v2/config"
	ign "github.com/coreos/ignition/v2/config/shared/errors"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/coreos/vcontext/report"
)

// Config is what all stages take: the newest version's types.
type Config = types.Config

// Newest is the version that a loaded config says it has.
var Newest = types.MaxVersion.String()

// Versions are those that are read.
var Versions = []string{"3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0", Newest}

// Limits of what is read: no config of a machine comes near them.
const (
	MaxSize  = 64 << 20
	maxDepth = 64
)

// ErrEmpty is matched when there is no config at all: a machine goes on
// without one, as upstream's does.
var ErrEmpty = ign.ErrEmpty

// A Translator makes an Ignition config of Butane. Its report's places are
// those of the Butane text.
type Translator func(name string, butane []byte) (ignition []byte, r report.Report, err error)

// A Loader reads configs. The zero value reads Ignition only.
type Loader struct {
	Butane Translator // nil: Butane is refused
	// Files allows file URLs, which upstream refuses, in Ignition configs: in
	// those that lay in a folder or volume of the machine.
	Files bool
}

// A Document is a config that was read.
type Document struct {
	Config   Config
	Version  string    // as it was written; that of the translation for Butane
	Butane   bool      // it was translated
	JSON     []byte    // the Ignition config as upstream's parser takes it
	Findings []Finding // warnings only
}

// Load reads a config; name is the file or public URL that errors shall tell.
// An error is an *InvalidError, or matches ErrEmpty.
func (l Loader) Load(name string, raw []byte) (*Document, error) {
	switch {
	case len(raw) > MaxSize:
		return nil, invalid(name, "has more than 64 MiB", "a config: large files belong behind a URL")
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, fmt.Errorf("%s: %w", name, ErrEmpty)
	case !isJSON(raw):
		return l.translate(name, raw)
	}
	return load(name, raw, l.Files)
}

// isJSON tells Ignition from Butane, which is YAML: nobody writes Butane as a
// flow mapping.
func isJSON(raw []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) }

func (l Loader) translate(name string, raw []byte) (*Document, error) {
	if l.Butane == nil {
		return nil, invalid(name, "is not an Ignition config", `JSON, beginning with "{"; Butane is translated by "holdfast node config convert"`)
	}
	ignition, r, err := l.Butane(name, raw)
	findings := fromYAML(name, r)
	if err != nil {
		if !hasErrors(findings) {
			findings = append(findings, yamlFinding(name, err))
		}
		return nil, &InvalidError{findings}
	}
	d, err := load(name+" (translated)", ignition, false)
	if err != nil {
		return nil, err
	}
	d.Butane, d.Findings = true, findings
	return d, nil
}

func load(name string, raw []byte, files bool) (*Document, error) {
	s := newSource(name, raw)
	odd, err := s.scan()
	if err != nil {
		return nil, err
	}
	cfg, r, err := config.Parse(raw)
	named := s.fileURLs(r)
	if len(named) > 0 && files {
		raw = s.masked(named)
		cfg, r, err = config.Parse(raw)
		unmask(&cfg)
	}
	findings := append(odd, s.findings(r)...)
	switch {
	case err == nil:
		return &Document{Config: cfg, Version: s.version(), JSON: raw, Findings: findings}, nil
	case errors.Is(err, ErrEmpty):
		return nil, fmt.Errorf("%s: %w", name, err)
	case errors.Is(err, ign.ErrUnknownVersion), errors.Is(err, ign.ErrInvalidVersion):
		return nil, &InvalidError{append(findings, s.wrongVersion())}
	case !hasErrors(findings):
		findings = append(findings, Finding{Severity: severityError, File: name, Path: "$", Problem: "the config is not valid"})
	}
	return nil, &InvalidError{findings}
}

// wrongVersion tells the version, which is no secret.
func (s *source) wrongVersion() Finding {
	f := s.at([]any{"ignition", "version"})
	f.Problem = "no version is named"
	if v := s.version(); v != "" {
		f.Problem = fmt.Sprintf("version %.40q is not known", v)
	}
	f.Want = strings.Join(Versions, ", ")
	return f
}
