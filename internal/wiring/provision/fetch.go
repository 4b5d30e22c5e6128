package provision

import (
	"log/slog"

	"holdfast/internal/ignition/fetch"
)

// fetcher asks as the platform's machines may: with a role where there is one.
func fetcher(platform string, log *slog.Logger) *fetch.Fetcher {
	conf := fetch.Config{Log: log}
	switch platform {
	case "aws":
		conf.AWS = "http://169.254.169.254"
	case "azure":
		conf.Azure = "http://169.254.169.254"
	case "gcp":
		conf.GCP = "http://metadata.google.internal"
	}
	return fetch.New(conf)
}
