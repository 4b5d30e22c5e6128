// Package deb reads Debian archives: signed indexes, what a package needs,
// and the files in it.
//
// Every byte that it hands out is named by an index that the archive's keyring
// signed. Nothing is installed, no maintainer script runs, and no root is
// needed.
package deb

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A Pin names one package file exactly, on whatever mirror it is.
type Pin struct {
	Name         string `yaml:"name"`
	Version      string `yaml:"version"`
	Architecture string `yaml:"architecture"`
	Size         int64  `yaml:"size"`
	SHA256       string `yaml:"sha256"` // 64 hex digits
	Path         string `yaml:"path"`   // pool/…, below the archive's root
	Suite        string `yaml:"suite"`  // the suite whose archive has it
}

// Digest is the name of the package file's bytes.
func (p Pin) Digest() oci.Digest { return oci.Digest("sha256:" + p.SHA256) }

// Config says where packages come from and where they are kept.
type Config struct {
	// Store keeps indexes and packages between runs. Required.
	Store blob.Store
	// Mirror is an archive's root (as https://host/debian), instead of Sources;
	// its security suites are expected beside it, at Mirror + "-security".
	Mirror string
	// Sources are what ReadSources found on the machine.
	Sources []Source
	// Keyring is a file of OpenPGP keys, one of which must have signed each
	// index. Only Indexes needs it.
	Keyring string
	// Components are the parts of the archive to look in; by default main.
	Components []string

	Client   *http.Client      // by default http.DefaultClient
	Now      func() time.Time  // by default time.Now
	Progress progress.Reporter // by default silent
	Log      *slog.Logger      // by default none
	Parallel int               // downloads at once; by default 8
	// Backoff is the pause before a second try; it doubles with each of the
	// three tries that follow. By default 300 ms.
	Backoff time.Duration
	// Stall is how long a transfer may stand still; by default 30 s.
	Stall time.Duration
}

// An Archive is a Debian archive as a Config describes it.
type Archive struct{ cfg Config }

// New fills in what cfg leaves open, and refuses a Mirror that is no web address.
func New(cfg Config) (*Archive, error) {
	if cfg.Store == nil {
		return nil, errors.New("deb: no store to keep packages in")
	}
	if u, err := url.Parse(cfg.Mirror); cfg.Mirror != "" && (err != nil || u.Host == "" || !web(u.Scheme)) {
		return nil, fmt.Errorf("mirror %q: want for example https://HOST/debian", cfg.Mirror)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	if len(cfg.Components) == 0 {
		cfg.Components = []string{"main"}
	}
	cfg.Progress = progress.Or(cfg.Progress)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	cfg.Parallel = cmp.Or(cfg.Parallel, 8)
	cfg.Backoff = cmp.Or(cfg.Backoff, 300*time.Millisecond)
	cfg.Stall = cmp.Or(cfg.Stall, 30*time.Second)
	return &Archive{cfg: cfg}, nil
}

func web(scheme string) bool { return scheme == "http" || scheme == "https" }
