// Package butane translates Butane to Ignition, for the host: a machine is
// given Ignition, so that it need not bring a YAML parser and its variants.
//
// A file that a config names is read below one folder that the caller allows,
// and nowhere when there is none.
package butane

import (
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
	return config.TranslateBytes(text, common.TranslateBytesOptions{
		TranslateOptions: common.TranslateOptions{FilesDir: c.Files},
		Raw:              true,
	})
}
