// Package fetch gets what a config names by URL: over http, https, tftp, from
// S3, Google Cloud Storage and Azure, out of data URLs, and from files below the
// root that the caller gives.
//
// What it writes was decompressed, bounded and, where the config has a hash,
// verified when it returns without error; until then it is nothing to rely on.
// Errors name a URL without its user and query, and never what was fetched.
package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/vincent-petithory/dataurl"

	"holdfast/internal/ignition/spec"
)

// Errors to branch on.
var (
	ErrTooLarge = errors.New("more than the limit")
	ErrStalled  = errors.New("the server sends too slowly")
	ErrHash     = errors.New("the hash differs")
	ErrNotFound = errors.New("not found")
	ErrScheme   = errors.New("cannot be fetched")
)

// Config says how to fetch. The zero value is upstream's behaviour, bounded.
type Config struct {
	// Limit is how many bytes a resource may have, compressed or not; 16 GiB
	// when 0. What goes to a bytes.Buffer is held in memory, as configs are, and
	// has at most spec.MaxSize.
	Limit int64
	// Stall is the time within which a kilobyte of a body must come; one minute
	// when 0.
	Stall time.Duration
	// Total bounds a resource when its config has no timeouts.httpTotal; 0 is for
	// ever, as upstream's.
	Total time.Duration
	// Files opens the path of a file URL below the root that the config came
	// from; nil where file URLs are refused.
	Files func(path string) (io.ReadCloser, error)
	// AWS, GCP and Azure are base URLs of the clouds' metadata services, for
	// credentials; empty on other machines, which ask anonymously.
	AWS, GCP, Azure string
	// S3, GCS and Blob stand in for the services' base URLs.
	S3, GCS, Blob string
	// Wait sleeps between attempts; nil for real time.
	Wait func(ctx context.Context, d time.Duration) error
	Now  func() time.Time // of signatures; time.Now when nil
	Log  *slog.Logger
}

// A Fetcher keeps connections, authorities and credentials between fetches.
type Fetcher struct {
	Config
	mu      sync.Mutex
	clients []settled         // guarded by mu
	cas     map[string][]byte // certificates by their URL; guarded by mu
}

// New completes c.
func New(c Config) *Fetcher {
	if c.Limit == 0 {
		c.Limit = 16 << 30
	}
	if c.Stall == 0 {
		c.Stall = time.Minute
	}
	if c.Wait == nil {
		c.Wait = sleep
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Fetcher{Config: c, cas: map[string][]byte{}}
}

// Fetch writes what r names to w, with the timeouts, proxies and authorities
// of settings. A resource without a source is empty.
func (f *Fetcher) Fetch(ctx context.Context, settings types.Ignition, r types.Resource, w io.Writer) error {
	if r.Source == nil || *r.Source == "" {
		return nil
	}
	if err := f.fetch(ctx, settings, r, w); err != nil {
		return fmt.Errorf("fetch %s: %w", spec.PublicURL(*r.Source), public(err))
	}
	return nil
}

func (f *Fetcher) fetch(ctx context.Context, settings types.Ignition, r types.Resource, w io.Writer) error {
	u, err := url.Parse(*r.Source)
	if err != nil {
		return err
	}
	limit := f.Limit
	if _, inMemory := w.(*bytes.Buffer); inMemory {
		limit = min(limit, spec.MaxSize)
	}
	sink, err := newSink(w, r, limit)
	if err != nil {
		return err
	}
	if u.Scheme == "data" {
		d, err := dataurl.DecodeString(*r.Source)
		if err != nil {
			return errors.New("the data URL does not decode") // the error quotes it
		}
		return sink.text(d.Data)
	}
	total := f.total(settings)
	if total > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, total, fmt.Errorf("not done in %v", total))
		defer cancel()
	}
	err = f.remote(ctx, settings, u, r, sink)
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}

func (f *Fetcher) remote(ctx context.Context, settings types.Ignition, u *url.URL, r types.Resource, sink *sink) error {
	switch u.Scheme {
	case "tftp":
		return f.tftp(ctx, u, sink)
	case "file":
		return f.file(u, sink)
	case "http", "https", "s3", "arn", "gs":
	default:
		return fmt.Errorf("scheme %.20q %w: want http, https, tftp, s3, arn, gs, data or file", u.Scheme, ErrScheme)
	}
	client, err := f.client(ctx, settings)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "s3", "arn":
		return f.s3(ctx, client, u, sink)
	case "gs":
		return f.gcs(ctx, client, u, sink)
	}
	headers, err := r.HTTPHeaders.Parse()
	if err != nil {
		return err
	}
	q := question{url: u.String(), headers: headers, retry: true}
	if isBlob(u) && f.Azure != "" {
		return f.blob(ctx, client, u, q, sink)
	}
	return f.get(ctx, client, q, sink)
}

// file reads file:///PATH (RFC 8089): no other host, and nothing behind it.
func (f *Fetcher) file(u *url.URL, sink *sink) error {
	switch {
	case f.Files == nil:
		return fmt.Errorf("a file URL %w here: the config came from no folder or volume of this machine", ErrScheme)
	case u.Host != "" && u.Host != "localhost" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path == "" || u.Path == "/":
		return errors.New("want file:///PATH")
	}
	file, err := f.Files(u.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	return sink.body(file)
}

// total is the time for a resource with its retries.
func (f *Fetcher) total(settings types.Ignition) time.Duration {
	if s := settings.Timeouts.HTTPTotal; s != nil {
		return time.Duration(*s) * time.Second
	}
	return f.Total
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
