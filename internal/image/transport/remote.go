package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	rtransport "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	store "holdfast/internal/blob"
	"holdfast/internal/resume"
)

// remoteSource reads from a registry.
type remoteSource struct {
	ref     name.Reference
	puller  *remote.Puller
	options []remote.Option
	o       Options
	client  lazyClient
}

func openRemote(ref Ref, o Options) (*remoteSource, error) {
	options, err := o.remote()
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(options...)
	return &remoteSource{ref: ref.Remote, puller: puller, options: append(options, remote.Reuse(puller)), o: o}, err
}

func (r *remoteSource) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	return r.get(ctx, r.ref)
}

func (r *remoteSource) get(ctx context.Context, ref name.Reference) (ocispec.Descriptor, []byte, error) {
	got, err := r.puller.Get(ctx, ref)
	if err != nil {
		return ocispec.Descriptor{}, nil, explain(err)
	}
	if got.Size > maxManifest {
		return ocispec.Descriptor{}, nil, fmt.Errorf("manifest has %d bytes, more than %d", got.Size, maxManifest)
	}
	desc := ocispec.Descriptor{MediaType: string(got.MediaType), Digest: digest.Digest(got.Digest.String()), Size: got.Size}
	return desc, got.Manifest, check(desc, got.Manifest)
}

func (r *remoteSource) manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	_, raw, err := r.get(ctx, r.ref.Context().Digest(string(desc.Digest)))
	return raw, err
}

// blob reads through broken connections.
func (r *remoteSource) blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	repository := r.ref.Context()
	client, err := r.client.get(ctx, repository, r.o, repository.Scope(rtransport.PullScope))
	if err != nil {
		return nil, explain(err)
	}
	g := resume.Getter{Client: client, Backoff: r.o.Backoff, Stall: r.o.Stall, Log: r.o.Logger}
	at := fmt.Sprintf("https://%s/v2/%s/blobs/%s", repository.RegistryStr(), repository.RepositoryStr(), desc.Digest)
	body, err := g.Open(ctx, at, offset)
	if err != nil {
		return nil, explain(err)
	}
	return body, nil
}

// A lazyClient logs in when it is first needed.
type lazyClient struct {
	mu     sync.Mutex
	client *http.Client // guarded by mu
}

func (l *lazyClient) get(ctx context.Context, repository name.Repository, o Options, scopes ...string) (*http.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client, nil
	}
	client, err := login(ctx, repository, o, scopes...)
	if err == nil {
		l.client = client
	}
	return client, err
}

func (*remoteSource) Close() error { return nil }

// remoteTarget writes to a registry.
type remoteTarget struct {
	ref    name.Reference
	pusher *remote.Pusher
	o      Options
	client lazyClient
}

func createRemote(ref Ref, o Options) (*remoteTarget, error) {
	options, err := o.remote()
	if err != nil {
		return nil, err
	}
	if o.Uploads != "" {
		store.SweepParts(o.Uploads)
	}
	pusher, err := remote.NewPusher(options...)
	return &remoteTarget{ref: ref.Remote, pusher: pusher, o: o}, err
}

// put asks first whether the registry has the blob, or can take it from the
// source's repository when both are in it.
func (r *remoteTarget) put(ctx context.Context, b blob) error {
	repository := r.ref.Context()
	p := &push{remoteTarget: r, b: b}
	scopes := []string{repository.Scope(rtransport.PushScope)}
	if from, ok := b.from.source.(*remoteSource); ok && from.ref.Context().Registry == repository.Registry {
		p.from = &from.ref
		scopes = append(scopes, from.ref.Context().Scope(rtransport.PullScope))
	}
	var err error
	if p.client, err = r.client.get(ctx, repository, r.o, scopes...); err != nil {
		return explain(err)
	}
	return explain(p.run(ctx))
}

func (r *remoteTarget) tag(ctx context.Context, desc ocispec.Descriptor, raw []byte) error {
	return explain(r.pusher.Put(ctx, r.ref, document{raw, ocispecType(desc)}))
}

func (*remoteTarget) Close() error { return nil }

func ocispecType(desc ocispec.Descriptor) types.MediaType { return types.MediaType(desc.MediaType) }

type document struct {
	raw       []byte
	mediaType types.MediaType
}

func (d document) RawManifest() ([]byte, error)        { return d.raw, nil }
func (d document) MediaType() (types.MediaType, error) { return d.mediaType, nil }

// An UnreachableError is a registry that nothing answers for.
type UnreachableError struct {
	Host  string
	cause error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the registry cannot be reached: %v", e.cause)
}

func (e *UnreachableError) Unwrap() error { return e.cause }

// Hub says whether the registry is the one of names that have no host.
func (e *UnreachableError) Hub() bool { return e.Host == name.DefaultRegistry }

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// explain turns a registry's answer into a sentence.
func explain(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		var request *url.Error
		host := ""
		if errors.As(err, &request) {
			host = hostOf(request.URL)
		}
		return &UnreachableError{host, dial}
	}
	switch statusOf(err) {
	case http.StatusNotFound:
		return fmt.Errorf("%w: the registry answers %w", ErrNotFound, err)
	case http.StatusUnauthorized:
		return fmt.Errorf("the registry wants other credentials: %w", err)
	case http.StatusForbidden, http.StatusInsufficientStorage:
		return &deniedError{err}
	}
	return err
}

// A deniedError is a registry's no, in its own words.
type deniedError struct{ error }

func (e *deniedError) Unwrap() error { return e.error }

func (e *deniedError) Error() string {
	var answer *rtransport.Error
	if !errors.As(e.error, &answer) || len(answer.Errors) == 0 {
		return "the registry refuses: " + e.error.Error()
	}
	return fmt.Sprintf("the registry refuses: %.200s", answer.Errors[0].String())
}

// statusOf is the code of the answer that err is about; 0 if it is of none.
func statusOf(err error) int {
	var answer *rtransport.Error
	var status *resume.StatusError
	switch {
	case errors.As(err, &answer):
		return answer.StatusCode
	case errors.As(err, &status):
		return status.Code
	}
	return 0
}
