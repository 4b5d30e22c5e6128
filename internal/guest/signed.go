package guest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/cosign"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/resume"
)

// parsePolicy reads the policy of the configuration, which is all of it: there
// are no key files in a machine. Without one, a name has to be a digest; with
// one, a tag will do, but what it names has to be signed.
func parsePolicy(text string, name cosign.Name) (*cosign.Policy, error) {
	if text == "" && name.Digest == "" {
		return nil, fmt.Errorf("image %.200q: want @sha256:<64 hex digits>, or a policy that wants it signed", name)
	}
	if text == "" {
		return nil, nil
	}
	p, err := cosign.ParsePolicy([]byte(text), nil)
	if err != nil {
		return nil, err
	}
	return p, p.Settles(name)
}

// settle says which image the name is, and holds it against the policy.
func (r *registry) settle(ctx context.Context) (*cosign.Decision, error) {
	if r.digest == "" {
		raw, err := r.tagged(ctx, r.name.Tag, v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, dockerManifest, dockerIndex)
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", r.name.Tag, err)
		}
		r.digest = oci.SHA256(raw)
	}
	if r.policy == nil {
		return nil, nil
	}
	d, err := r.policy.Decide(ctx, cosign.Subject{Transport: cosign.Docker, Name: r.name, Digest: r.digest}, beside{r})
	if err == nil {
		err = d.Err()
	}
	return &d, err
}

// beside is the registry, for who looks for signatures.
type beside struct{ *registry }

// tagged reads the manifest that a tag names now.
func (r *registry) tagged(ctx context.Context, tag string, accept ...string) ([]byte, error) {
	return r.get(ctx, "manifests", tag, accept...)
}

func (b beside) Tag(ctx context.Context, tag string) ([]byte, error) {
	raw, err := b.tagged(ctx, tag, v1.MediaTypeImageManifest, v1.MediaTypeImageIndex)
	return raw, absent(err)
}

func absent(err error) error {
	var answer *resume.StatusError
	if errors.As(err, &answer) && answer.Code == http.StatusNotFound {
		return fmt.Errorf("%w: %w", cosign.ErrNoTag, err)
	}
	return err
}

// Referrers asks the registry's API, and reads the tag that stands for it where
// there is none.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (b beside) Referrers(ctx context.Context, image oci.Digest) ([]v1.Descriptor, error) {
	raw, err := b.get(ctx, "referrers", string(image), v1.MediaTypeImageIndex)
	if errors.Is(absent(err), cosign.ErrNoTag) {
		raw, err = b.Tag(ctx, image.Algorithm()+"-"+image.Hex())
	}
	if errors.Is(err, cosign.ErrNoTag) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list v1.Index
	err = input.JSON(raw, &list)
	return list.Manifests, err
}

func (b beside) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	digest, err := checkDigest(d)
	if err != nil {
		return nil, err
	}
	return b.document(ctx, "manifests", digest, v1.MediaTypeImageManifest)
}

func (b beside) Blob(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	digest, err := checkDigest(d)
	if err != nil {
		return nil, err
	}
	return b.document(ctx, "blobs", digest)
}
