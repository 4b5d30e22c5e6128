package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	rtransport "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// remoteSource reads from a registry.
type remoteSource struct {
	ref     name.Reference
	puller  *remote.Puller
	options []remote.Option
}

func openRemote(ref Ref, o Options) (*remoteSource, error) {
	options, err := o.remote()
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(options...)
	return &remoteSource{ref.Remote, puller, append(options, remote.Reuse(puller))}, err
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

func (r *remoteSource) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	layer, err := r.puller.Layer(ctx, r.ref.Context().Digest(string(desc.Digest)))
	if err != nil {
		return nil, explain(err)
	}
	body, err := layer.Compressed()
	return body, explain(err)
}

func (*remoteSource) Close() error { return nil }

// remoteTarget writes to a registry.
type remoteTarget struct {
	ref    name.Reference
	pusher *remote.Pusher
}

func createRemote(ref Ref, o Options) (*remoteTarget, error) {
	options, err := o.remote()
	if err != nil {
		return nil, err
	}
	pusher, err := remote.NewPusher(options...)
	return &remoteTarget{ref.Remote, pusher}, err
}

// put asks first whether the registry has the blob, or can take it from the
// source's repository when both are in it.
func (r *remoteTarget) put(ctx context.Context, b blob) error {
	var layer v1.Layer = upload{ctx, b}
	if from, ok := b.from.source.(*remoteSource); ok && from.ref.Context().Registry == r.ref.Context().Registry {
		layer = &remote.MountableLayer{Layer: layer, Reference: from.ref}
	}
	return explain(r.pusher.Upload(ctx, r.ref.Context(), layer))
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

// upload is a blob as the client library wants it. Its type is kept from the
// library, which would leave out layers whose type it thinks undistributable.
type upload struct {
	ctx context.Context
	b   blob
}

func (u upload) Digest() (v1.Hash, error)             { return v1.NewHash(string(u.b.Digest)) }
func (u upload) Size() (int64, error)                 { return u.b.Size, nil }
func (u upload) MediaType() (types.MediaType, error)  { return "application/octet-stream", nil }
func (u upload) Compressed() (io.ReadCloser, error)   { return u.b.open(u.ctx) }
func (u upload) DiffID() (v1.Hash, error)             { return v1.Hash{}, errors.ErrUnsupported }
func (u upload) Uncompressed() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }

// explain turns a registry's answer into a sentence.
func explain(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("the registry cannot be reached: %w", dial)
	}
	var answer *rtransport.Error
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: the registry answers %w", ErrNotFound, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the registry wants other credentials: %w", err)
	}
	return err
}
