// Package ignition applies a machine's description, an Ignition config, to a
// root folder, once and before the system in it first runs.
//
// The engine fetches and merges the config in its first stage, keeps it, and
// each later call runs one stage of it. Called with upstream's flags it does
// what upstream's engine does; what it prints names files and fields of the
// config, never their contents.
package ignition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// A Stage applies its part of a config.
type Stage interface {
	Name() string
	Run(ctx context.Context, c types.Config) error
}

// Fetch writes to w what a resource names: decompressed and verified.
type Fetch func(ctx context.Context, r types.Resource, w io.Writer) error

// A Request is what a platform's service is asked: that takes more than a
// resource says.
type Request struct {
	Method string // GET when empty
	URL    string
	Header http.Header
	Retry  []int // status codes that pass with time, beside 500 and above
	Follow bool  // redirects; a metadata service has none to give
}

// Ask gets the body of what answers a request: without a proxy, and never more
// than a config may have.
type Ask func(ctx context.Context, r Request) ([]byte, error)

// Provided is a config as it came, and where it lay if that is at hand.
type Provided struct {
	Raw    []byte
	Origin *Origin // nil: it came over the network, or out of a machine's maker
}

// An Origin is the folder, or the volume, that a config lay in: it is the root
// of the paths that file URLs of the config name.
type Origin struct {
	Folder string `json:"folder,omitempty"`
	Volume string `json:"volume,omitempty"` // its device
}

// Admit is asked before a config is parsed: it gives the bytes to be parsed, or
// refuses. Hashed says that whoever named the config named its hash too.
type Admit func(ctx context.Context, source string, raw []byte, hashed bool) ([]byte, error)

// Stages in the order in which a boot runs them.
var Stages = []string{"fetch-offline", "fetch", "kargs", "disks", "mount", "files", "umount"}

// Errors to branch on.
var (
	// ErrNeedNet says that something can be had from the network only.
	ErrNeedNet = errors.New("needs the network")
	// ErrNoConfig says that a source has nothing to say; others may.
	ErrNoConfig = errors.New("no config there")
)

// An Error is what went wrong with a field of the config.
type Error struct {
	Path string // RFC 9535, as $.storage.files[0]
	Err  error
}

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// At names the field of the config that err is about.
func At(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{fmt.Sprintf(format, args...), err}
}
