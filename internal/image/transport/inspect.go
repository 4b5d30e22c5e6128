package transport

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

// An Image is what Inspect tells of one.
type Image struct {
	Reference   string              `json:"reference"`
	Digest      oci.Digest          `json:"digest"` // of the manifest
	MediaType   string              `json:"mediaType"`
	Platform    string              `json:"platform"`
	Size        int64               `json:"size"` // bytes of manifest, config and layers
	Encrypted   bool                `json:"encrypted"`
	Layers      []Layer             `json:"layers"`
	Config      ocispec.ImageConfig `json:"config"`
	ConfigSum   oci.Digest          `json:"configDigest"`
	Annotations map[string]string   `json:"annotations,omitempty"`
	Referrers   []Referrer          `json:"referrers,omitempty"`
	Problem     string              `json:"problem,omitempty"` // why referrers cannot be listed
}

// A Layer of an inspected image.
type Layer struct {
	Digest    oci.Digest `json:"digest"`
	DiffID    oci.Digest `json:"diffID,omitempty"` // of the tar within
	MediaType string     `json:"mediaType"`
	Size      int64      `json:"size"`
	Encrypted bool       `json:"encrypted"`
	Cipher    string     `json:"cipher,omitempty"`
	Keys      []LayerKey `json:"keys,omitempty"`
	Problem   string     `json:"problem,omitempty"` // why its encryption cannot be read
}

// A LayerKey is one wrapped copy of a layer's key.
type LayerKey struct {
	Scheme    string `json:"scheme"`              // "jwe", "provider.attestation-agent", …
	ID        string `json:"id,omitempty"`        // the broker resource, or the JWE's key id
	Algorithm string `json:"algorithm,omitempty"` // that wrapped it
}

// Inspect tells what an image is made of, without reading its layers.
func Inspect(ctx context.Context, src Ref, o Options) (Image, error) {
	img, err := open(ctx, src, o.withDefaults())
	if err != nil {
		return Image{}, fmt.Errorf("read %s: %w", src, err)
	}
	defer img.Close()
	return img.inspect(ctx, src), nil
}

func (img *image) inspect(ctx context.Context, src Ref) Image {
	list, err := img.artifacts(ctx)
	result := describe(src, img, list)
	if err != nil {
		result.Problem = err.Error()
	}
	return result
}

func describe(src Ref, img *image, list []artifact) Image {
	result := Image{
		Reference: src.String(), Digest: oci.Digest(img.desc.Digest), MediaType: img.desc.MediaType,
		Platform: img.config.OS + "/" + img.config.Architecture, Size: int64(len(img.raw)) + sum(unique(img.blobs())),
		Config: img.config.Config, ConfigSum: oci.Digest(img.manifest.Config.Digest), Annotations: img.manifest.Annotations,
		Layers: []Layer{}, Referrers: referrers(list),
	}
	for i, desc := range img.manifest.Layers {
		layer := inspectLayer(desc)
		if i < len(img.config.RootFS.DiffIDs) {
			layer.DiffID = oci.Digest(img.config.RootFS.DiffIDs[i])
		}
		result.Layers = append(result.Layers, layer)
		result.Encrypted = result.Encrypted || layer.Encrypted
	}
	return result
}

func inspectLayer(desc ocispec.Descriptor) Layer {
	layer := Layer{
		Digest: oci.Digest(desc.Digest), MediaType: desc.MediaType, Size: desc.Size,
		Encrypted: enc.IsEncrypted(desc.MediaType),
	}
	if !layer.Encrypted {
		return layer
	}
	public, err := enc.ParsePublic(desc.Annotations[enc.AnnotationOptions])
	if err != nil {
		layer.Problem = err.Error()
	}
	layer.Cipher = public.Cipher
	for _, scheme := range enc.Schemes(desc.Annotations) {
		packets, err := enc.Packets(desc.Annotations[enc.AnnotationPrefix+"keys."+scheme])
		if err != nil {
			layer.Problem = err.Error()
		}
		for _, packet := range packets {
			layer.Keys = append(layer.Keys, inspectKeys(scheme, packet)...)
		}
	}
	return layer
}

func inspectKeys(scheme string, packet []byte) []LayerKey {
	switch enc.AnnotationPrefix + "keys." + scheme {
	case enc.AnnotationBroker:
		p, err := enc.ParsePacket(packet)
		if err == nil {
			return []LayerKey{{scheme, p.KID, p.WrapType}}
		}
	case enc.AnnotationJWE:
		return inspectJWE(scheme, packet)
	}
	return []LayerKey{{Scheme: scheme}}
}

// inspectJWE reads the headers of RFC 7516's JSON forms: those that all
// recipients share, sealed or not, and those of each.
func inspectJWE(scheme string, packet []byte) []LayerKey {
	type header struct {
		KID string `json:"kid"`
		Alg string `json:"alg"`
	}
	var message struct {
		Protected  string
		Header     header
		Recipients []struct{ Header header }
	}
	if json.Unmarshal(packet, &message) != nil {
		return []LayerKey{{Scheme: scheme}}
	}
	shared := message.Header
	if raw, err := base64.RawURLEncoding.DecodeString(message.Protected); err == nil {
		_ = json.Unmarshal(raw, &shared)
	}
	keys := []LayerKey{}
	for _, r := range message.Recipients {
		keys = append(keys, LayerKey{scheme, r.Header.KID, r.Header.Alg})
	}
	if len(keys) == 0 {
		keys = append(keys, LayerKey{scheme, shared.KID, shared.Alg})
	}
	return keys
}
