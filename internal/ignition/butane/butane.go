// Package butane translates Butane to Ignition, for the host: a machine is
// given Ignition, so that it need not bring a YAML parser and its variants.
//
// A file that a config names is read below one folder that the caller allows,
// and nowhere when there is none.
package butane

import (
	baseutil "github.com/coreos/butane/base/util"
	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	"github.com/coreos/vcontext/report"
)

// Config says how to translate.
type Config struct {
	Files string // folder of the files that "local" names; "": such a config is refused
}

// Translate is a spec.Translator.
func (c Config) Translate(_ string, text []byte) ([]byte, report.Report, error) {
	ignition, r, err := c.translate(text)
	if err != nil && len(r.Entries) == 0 {
		r = unknown(text, err)
		r.Merge(wrongKinds(text, err))
	}
	return ignition, r, err
}

func (c Config) translate(text []byte) ([]byte, report.Report, error) {
	if variant, version := head(text); variant == Holdfast && version == HoldfastVersion {
		_, ignition, r, err := c.machine(text)
		return ignition, r, err
	}
	return config.TranslateBytes(text, common.TranslateBytesOptions{
		TranslateOptions: common.TranslateOptions{FilesDir: c.Files},
		Raw:              true,
	})
}

// text is one that stands in the config, or a file that it names.
func (c Config) text(inline, local *string) (string, error) {
	if local == nil {
		return value(inline), nil
	}
	raw, err := baseutil.ReadLocalFile(*local, c.Files)
	return string(raw), err
}
