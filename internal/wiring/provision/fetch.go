package provision

import (
	"log/slog"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
)

// fetch asks as the platform's machines may: with a role where there is one.
func (c Command) fetch(platform string, log *slog.Logger) ignition.SettingsFetch {
	conf := fetch.Config{Log: log}
	switch platform {
	case "aws":
		conf.AWS = "http://169.254.169.254"
	case "gcp":
		conf.GCP = "http://metadata.google.internal"
	}
	return fetch.New(conf).Fetch
}
