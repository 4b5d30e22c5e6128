package cli

import (
	"runtime/debug"
)

// version is what the Go toolchain knows of this program: its module's
// version, or that it was built from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	module := info.Main.Version
	if module == "" || module == "(devel)" {
		module = "from a checkout"
	}
	return module + ", " + info.GoVersion
}
