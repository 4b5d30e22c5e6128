package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"holdfast/internal/oci"
)

// What the registry asks of others. Each of these is optional: without one,
// the registry does without.

// An Action is what a request is about to do with a repository.
type Action string

// The actions. Ping and List are about no repository: they ask whether the
// client may speak to the registry, and which repositories there are.
const (
	Ping   Action = "ping"
	List   Action = "list"
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
)

// Access says who may do what. Decide is called once for each request before
// anything else, again for the repository that a blob is mounted from, and
// for each repository that a list would name.
type Access interface {
	Decide(q *http.Request, repository string, action Action) Decision
}

// A Decision is an Access's answer; the zero value hides.
type Decision struct {
	Verdict   Verdict
	Challenge string // WWW-Authenticate of a Challenge
}

// A Verdict is what comes of a request.
type Verdict int

// The verdicts. A client who may not know that a repository exists gets Hide,
// which is the answer for one that does not.
const (
	Hide      Verdict = iota // 404 NAME_UNKNOWN
	Allow                    //
	Challenge                // 401 UNAUTHORIZED
	Forbid                   // 403 DENIED
)

// A Source has blobs and manifests that the registry lacks. Sources are asked
// in order; the first that does not return ErrUnknown answers.
//
// What a Source gives is served while it comes, and kept when its digest is
// right. Many clients that want the same cause one call.
type Source interface {
	// Prefix says under which repositories the registry keeps what comes from
	// the registry that a client names by ?ns=, as containerd does: with the
	// prefix docker.io, library/redis is docker.io/library/redis. A Source
	// that does not know the namespace returns false.
	Prefix(namespace string) (prefix string, ok bool)
	// Blob gives the bytes of d and how many they are, -1 when that is not
	// known before their end.
	Blob(ctx context.Context, repository string, d oci.Digest) (io.ReadCloser, int64, error)
	// Manifest finds reference, which is a digest that the registry lacks or
	// a tag. Of a tag, have is what the registry's own names, or empty; a
	// Source that finds it unchanged may give a Manifest of that digest
	// without a body. When it fails, what the registry has is served.
	Manifest(ctx context.Context, repository, reference string, have oci.Digest) (Manifest, error)
}

// ErrUnknown is what a Source wraps that has no such thing, or nothing to do
// with the repository. Its other errors say that it could not be asked.
var ErrUnknown = errors.New("source knows nothing of it")

// A Manifest is an image, an index or an artifact, byte for byte.
type Manifest struct {
	Digest    oci.Digest
	MediaType string
	Body      []byte
	Tag       string // by which it is pushed or pulled, if by any

	stale bool // no Source could say whether the tag has moved
}

// A Gate says which manifests may come and go. An error of it that wraps
// ErrRefused is told to the client, as DENIED; others are for the log, and the
// client is refused too.
type Gate interface {
	Push(ctx context.Context, in View, m Manifest) error
	Pull(ctx context.Context, in View, m Manifest) error
}

// ErrRefused is what a Gate wraps to say that a manifest breaks the policy.
var ErrRefused = errors.New("refused by policy")

// A View is one repository, for those who decide about it: as it is, and for
// who decides about a pull with what Sources have of it too.
type View interface {
	// Repository is its name.
	Repository() string
	// Manifest finds a tag or a digest; absent, it wraps ErrUnknown.
	Manifest(ctx context.Context, reference string) (Manifest, error)
	// Referrers are the manifests whose subject is d, as descriptors; of any
	// type when artifactType is empty.
	Referrers(ctx context.Context, d oci.Digest, artifactType string) ([]Descriptor, error)
	// Blob opens a blob that is checked while it is read; absent, it wraps
	// ErrUnknown. No Source gives more than size bytes of it.
	Blob(ctx context.Context, d oci.Digest, size int64) (io.ReadCloser, error)
}

// A Descriptor names a manifest.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       oci.Digest        `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// An Observer counts. Its methods must be quick.
type Observer interface {
	// Request says that a request was answered.
	Request(r Answered)
	// Fetched says that a Source was read: how many bytes came, and whether
	// they were all and right.
	Fetched(bytes int64, err error)
}

// Answered describes a request when it is over.
type Answered struct {
	Operation      string // of the distribution API, as "blob get"
	Repository     string
	Status         int
	Received, Sent int64 // bytes of the bodies
	Took           time.Duration
}
