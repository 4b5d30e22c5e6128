package spec

// Path writes names and indexes as RFC 9535 does: $.storage.files[0].
func Path(elements []any) string { return jsonPath(elements) }

// Place is an error of a config in JSON without its words: at a path, or at the
// nearest thing above that is there.
func Place(name string, raw []byte, path []any) Finding {
	s := newSource(name, raw)
	if _, err := s.scan(); err != nil {
		return Finding{Severity: severityError, File: name, Path: jsonPath(path)}
	}
	return s.at(path)
}

// IsError says whether a config with this finding is refused.
func (f Finding) IsError() bool { return f.Severity == severityError }

// Warn makes a finding a warning.
func (f *Finding) Warn() { f.Severity = severityWarning }
