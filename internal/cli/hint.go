package cli

import "errors"

func explain(err error) (code int, hint string) {
	var u usageError
	if errors.As(err, &u) {
		return exitUsage, "holdfast VERB --help"
	}
	return exitFailed, ""
}
