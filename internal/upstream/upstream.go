// Package upstream reads from other registries: what they have under their
// own names is to be had here under a prefix.
//
// An upstream is believed in nothing but what a tag means. Manifests are
// checked against the digest that they are asked by, blobs by whoever reads
// them; credentials go to the upstream and to the token server that it names,
// and to nobody whom it redirects to. One that is busy is left alone for as
// long as it asks, and one that does not answer for a while.
package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/login"
	"holdfast/internal/oci"
)

// ErrUnknown says that no upstream has it.
var ErrUnknown = errors.New("no upstream has it")

// Config says how to reach upstreams; which they are, a file says.
type Config struct {
	Proxy func(*http.Request) (*url.URL, error) // nil is none
	// Recheck is how long a tag is believed before its upstream is asked
	// again; a minute when 0. A file may say otherwise.
	Recheck time.Duration
	Stall   time.Duration // how long a transfer may stand still; 30 s when 0
	Slowest int64         // bytes a second that a blob must come with; 1024 when 0
	Now     func() time.Time
	Log     *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Recheck <= 0 {
		c.Recheck = time.Minute
	}
	if c.Stall <= 0 {
		c.Stall = 30 * time.Second
	}
	if c.Slowest <= 0 {
		c.Slowest = 1024
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Set is the upstreams of one file.
type Set struct{ upstreams []*upstream }

// An upstream is another registry.
type upstream struct {
	entry
	c       Config
	manners *manners
	roots   *x509.CertPool // nil: the system's
	clients *clients
	tags    *tags
}

// entry is what the file says of it.
type entry struct {
	prefix     string
	url        *url.URL
	path       string // below which its repositories lie, "" or ending in /
	namespaces []string
	login      login.Login
	recheck    time.Duration
}

// A Manifest is an image or an index, byte for byte.
type Manifest struct {
	Digest    oci.Digest
	MediaType string
	Body      []byte // empty when it is the one that the caller has
}

// Prefix is under which repositories a registry's own are to be found, by the
// name that clients have for that registry.
func (s *Set) Prefix(namespace string) (prefix string, ok bool) {
	for _, u := range s.upstreams {
		for _, n := range u.namespaces {
			if n == namespace {
				return u.prefix, true
			}
		}
	}
	return "", false
}

// Prefixes lists all.
func (s *Set) Prefixes() []string {
	list := []string{}
	for _, u := range s.upstreams {
		list = append(list, u.prefix)
	}
	return list
}

// find gives the upstream of a repository, by the longest prefix, and its
// name there.
func (s *Set) find(repository string) (*upstream, string, error) {
	var found *upstream
	for _, u := range s.upstreams {
		if strings.HasPrefix(repository, u.prefix+"/") && (found == nil || len(u.prefix) > len(found.prefix)) {
			found = u
		}
	}
	if found == nil {
		return nil, "", ErrUnknown
	}
	return found, found.path + strings.TrimPrefix(repository, found.prefix+"/"), nil
}

// Blob gives the bytes that upstream says are d, and how many they are, -1
// when that is not known. They are not checked. A connection that breaks is
// gone on with.
func (s *Set) Blob(ctx context.Context, repository string, d oci.Digest) (io.ReadCloser, int64, error) {
	u, name, err := s.find(repository)
	if err != nil {
		return nil, 0, err
	}
	body, size, err := u.blob(ctx, name, d)
	if err != nil {
		return nil, 0, fmt.Errorf("upstream %s: %w", u.url.Host, err)
	}
	return body, size, nil
}

// Manifest finds a tag or a digest. Of a tag, have is the digest that the
// caller knows, if any: when it still is that, the answer has no body.
func (s *Set) Manifest(ctx context.Context, repository, reference string, have oci.Digest) (Manifest, error) {
	u, name, err := s.find(repository)
	if err != nil {
		return Manifest{}, err
	}
	m, err := u.manifest(ctx, name, reference, have)
	if err != nil {
		return Manifest{}, fmt.Errorf("upstream %s: %w", u.url.Host, err)
	}
	return m, nil
}
