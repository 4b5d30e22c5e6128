package attack

import (
	"context"
	"crypto"
	"encoding/json"
	"net/url"

	"holdfast/internal/cosign"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
)

// signedTag is what a policy in the configuration promises.
const signedTag = "a machine that is given a tag runs an image only if a key of its measured policy signed those bytes, by that name"

// byTag shows that a machine comes to a signed image by its tag.
var byTag = Control{Name: "a signed image is pulled by its tag", Run: func(ctx context.Context, l *Lab) error {
	s, err := l.site(ctx)
	if err != nil {
		return err
	}
	t, err := s.tagged(ctx, "approved")
	if err != nil {
		return err
	}
	if err := t.sign(ctx, s.ring.Pair(keys.Image).Key, t.digest, t.reference()); err != nil {
		return err
	}
	_, err = t.run(ctx, t.pull)
	return err
}}

func signatureAttacks() []Attack {
	return in("registry",
		forging("image-unsigned", "the tag names an image that nobody has signed", cosign.ErrUnsigned.Error(),
			func(context.Context, *taggedWorkload) error { return nil }),
		forging("signature-moved", "the signature of another image is laid beside this one", cosign.ErrImage.Error(),
			func(ctx context.Context, t *taggedWorkload) error {
				return t.sign(ctx, t.site.ring.Pair(keys.Image).Key, oci.SHA256([]byte("another image")), t.reference())
			}),
		forging("signature-foreign", "another installation signs the image", cosign.ErrKey.Error(),
			func(ctx context.Context, t *taggedWorkload) error {
				ring, err := t.site.lab.foreignKeys(ctx)
				if err != nil {
					return err
				}
				return t.sign(ctx, ring.Pair(keys.Image).Key, t.digest, t.reference())
			}),
		forging("signature-altered", "a signature of an older image has this one's digest written into it", cosign.ErrKey.Error(), alteredSignature),
		forging("signature-renamed", "an image that was signed under another tag is given this one", "it is of the name",
			func(ctx context.Context, t *taggedWorkload) error {
				return t.sign(ctx, t.site.ring.Pair(keys.Image).Key, t.digest, t.reference()+"-beta")
			}),
	)
}

// forging is an attack on an image whose tag is all that its machine is told.
func forging(name, change, reason string, forge func(context.Context, *taggedWorkload) error) Attack {
	return Attack{Name: name, Promise: signedTag, Change: change, Want: Refusal{Guest, reason}, Control: byTag,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			t, err := s.tagged(ctx, name)
			if err != nil {
				return Refusal{}, err
			}
			if err := forge(ctx, t); err != nil {
				return Refusal{}, err
			}
			return t.refused(ctx, t.pull)
		}}
}

// A taggedWorkload is one whose machine is told a tag, and a policy that wants
// the installation's signature.
type taggedWorkload struct {
	*workload
	pull    pull
	pushed  transport.Ref // in the site's registry
	options transport.Options
}

func (s *site) tagged(ctx context.Context, name string) (*taggedWorkload, error) {
	folder, err := s.lab.Folder(name)
	if err != nil {
		return nil, err
	}
	digest, err := compose(folder, archive(file("approved", []byte(name))))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.services.RegistryURL())
	if err != nil {
		return nil, err
	}
	t := &taggedWorkload{workload: &workload{site: s, name: name, digest: digest}}
	t.options.CA = s.ring.CertificatePEM(keys.TLS)
	if t.pushed, err = transport.Parse(u.Host + "/" + name + ":v1"); err != nil {
		return nil, err
	}
	key, err := cosign.NewKey(s.ring.Pair(keys.Image).Key.Public())
	if err != nil {
		return nil, err
	}
	policy, err := json.Marshal(cosign.Policy{Default: []cosign.Requirement{{Type: "sigstoreSigned", KeyDatas: [][]byte{key.PEM()}}}})
	if err != nil {
		return nil, err
	}
	t.pull.image, t.pull.policy = t.reference(), string(policy)
	_, err = transport.Copy(ctx, transport.LayoutRef(folder, ""), t.pushed, t.options)
	return t, err
}

func (t *taggedWorkload) reference() string { return "registry.example/" + t.name + ":v1" }

// sign lays beside the image what key says of a digest.
func (t *taggedWorkload) sign(ctx context.Context, key crypto.Signer, of oci.Digest, as string) error {
	bundle, err := cosign.Sign(key, of, as, nil)
	if err != nil {
		return err
	}
	return t.attach(ctx, bundle)
}

func (t *taggedWorkload) attach(ctx context.Context, bundle []byte) error {
	subject, err := transport.Resolve(ctx, t.pushed, t.options)
	if err == nil {
		_, err = transport.Attach(ctx, t.pushed, subject, transport.Attachment{Type: cosign.BundleType, Content: bundle}, t.options)
	}
	return err
}

func alteredSignature(ctx context.Context, t *taggedWorkload) error {
	key := t.site.ring.Pair(keys.Image).Key
	old, err := cosign.Sign(key, oci.SHA256([]byte("an older image")), t.reference(), nil)
	if err != nil {
		return err
	}
	wanted, err := cosign.Sign(key, t.digest, t.reference(), nil)
	if err != nil {
		return err
	}
	var forged, genuine struct {
		MediaType string          `json:"mediaType"`
		Material  json.RawMessage `json:"verificationMaterial"`
		Envelope  struct {
			Payload    []byte          `json:"payload"`
			Type       string          `json:"payloadType"`
			Signatures json.RawMessage `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(wanted, &forged); err != nil {
		return err
	}
	if err := json.Unmarshal(old, &genuine); err != nil {
		return err
	}
	forged.Envelope.Signatures = genuine.Envelope.Signatures
	bundle, err := json.Marshal(forged)
	if err != nil {
		return err
	}
	return t.attach(ctx, bundle)
}
