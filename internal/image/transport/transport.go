// Package transport moves container images between OCI layouts, registries
// and the archives of "docker save", and encrypts and decrypts them on the way.
//
// An image is its manifest's digest. Every byte that is moved is checked
// against the digest that names it, on both sides, and an image takes its name
// at the destination last: whoever is interrupted leaves blobs that the next
// run finds, never an image that is half there.
package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// Errors that a caller may branch on.
var (
	// ErrNotFound says that the reference names nothing.
	ErrNotFound = errors.New("no such image")
	// ErrDigest says that content is not what its digest says.
	ErrDigest = errors.New("content does not match its digest")
	// ErrPlatform says that there is no image for the architecture.
	ErrPlatform = errors.New("no image")
)

// Options are how to move images. The zero value works anonymously, with the
// system's certificate authorities and without a proxy.
type Options struct {
	CA       []byte                                // PEM of further certificate authorities; with it, loopback too is spoken to by https
	Keychain authn.Keychain                        // credentials; nil is anonymous
	Proxy    func(*http.Request) (*url.URL, error) // nil is none
	// Architecture is the one wanted, as "arm64". When empty, of an index the
	// image for amd64 is taken, and an image by itself whatever it is for.
	Architecture string
	Stdin        io.Reader // what "-" reads
	// Referrers has what refers to the image carried along with it.
	Referrers bool
	TempDir   string        // where archives are unpacked; the system's when empty
	Jobs      int           // blobs at a time; 4 when 0
	Stall     time.Duration // how long a transfer may stand still; 2 minutes when 0
	Backoff   time.Duration // before the second try of a transfer; 300 ms when 0
	Parts     string        // folder of blobs that were received in part; in the layout when empty
	Uploads   string        // folder that remembers uploads that broke off; none are when empty
	Progress  progress.Reporter
	Logger    *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.Stall <= 0 {
		o.Stall = 2 * time.Minute
	}
	if o.Backoff <= 0 {
		o.Backoff = 300 * time.Millisecond
	}
	if o.Keychain == nil {
		o.Keychain = anonymous{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Progress = progress.Or(o.Progress)
	return o
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// A Result says what came to the destination.
type Result struct {
	Reference string     `json:"reference"`
	Digest    oci.Digest `json:"digest"`  // of the manifest
	Size      int64      `json:"size"`    // bytes of manifest, config and layers
	Skipped   int64      `json:"skipped"` // bytes of blobs that were there already
	Referrers []Referrer `json:"referrers,omitempty"`
}

// Copy copies the image that src names to dst. Of an index it copies the
// image for the architecture, as it is, so that its digest stays.
func Copy(ctx context.Context, src, dst Ref, o Options) (Result, error) {
	o = o.withDefaults()
	img, err := open(ctx, src, o)
	if err != nil {
		return Result{}, fmt.Errorf("read %s: %w", src, err)
	}
	defer img.Close()
	if o.Referrers {
		if err := img.carryOlder(ctx, dst, o); err != nil {
			return Result{}, fmt.Errorf("copy %s to %s: %w", src, dst, err)
		}
	}
	to, err := openTarget(ctx, dst, o)
	if err != nil {
		return Result{}, fmt.Errorf("write %s: %w", dst, err)
	}
	defer to.Close()
	result, err := transfer(ctx, img, to, o)
	if err != nil {
		return Result{}, fmt.Errorf("copy %s to %s: %w", src, dst, err)
	}
	result.Reference = dst.String()
	return result, nil
}
