package clients

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// orasClient is what the program oras is made of, as a library.
type orasClient struct{ *testing.T }

func (c orasClient) auth(h string, who person) *auth.Client {
	a := &auth.Client{Cache: auth.NewCache()}
	if who != nobody {
		a.Credential = auth.StaticCredential(h, auth.Credential{Username: who.name, Password: who.password})
	}
	return a
}

func (c orasClient) repository(h host, who person, ref string) (*remote.Repository, error) {
	r, err := remote.NewRepository(ref)
	if err == nil {
		r.PlainHTTP, r.Client = true, c.auth(h.address, who)
	}
	return r, err
}

func (c orasClient) login(h host, who person) error {
	r, err := remote.NewRegistry(h.address)
	if err != nil {
		return err
	}
	r.PlainHTTP, r.Client = true, c.auth(h.address, who)
	return r.Ping(c.Context())
}

func (c orasClient) push(h host, who person, dir, ref string) error {
	from, err := oci.New(dir)
	if err != nil {
		return err
	}
	to, err := c.repository(h, who, ref)
	if err != nil {
		return err
	}
	_, err = oras.Copy(c.Context(), from, "v1", to, to.Reference.Reference, oras.DefaultCopyOptions)
	return err
}

func (c orasClient) pull(h host, who person, ref string) (string, error) {
	from, err := c.repository(h, who, ref)
	if err != nil {
		return "", err
	}
	to, err := oci.New(c.TempDir())
	if err != nil {
		return "", err
	}
	d, err := oras.Copy(c.Context(), from, from.Reference.Reference, to, "v1", oras.DefaultCopyOptions)
	return string(d.Digest), err
}

func TestOras(t *testing.T) { hold(t, orasClient{t}, guarded(t, false)) }

const noteType = "application/vnd.example.note"

// An artifact that one of them attaches is seen by the others, and goes along
// with its image when oras copies the graph.
func TestOrasAttachesAndFindsArtifacts(t *testing.T) {
	c, h := orasClient{t}, serve(t, nil)
	dir, digest := layout(t, t.Name())
	if err := c.push(h, nobody, dir, h.address+"/app:v1"); err != nil {
		t.Fatal(err)
	}
	r, err := c.repository(h, nobody, h.address+"/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := r.Resolve(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	note, err := oras.PushBytes(t.Context(), r, noteType, []byte("a note"))
	if err != nil {
		t.Fatal(err)
	}
	attached, err := oras.PackManifest(t.Context(), r, oras.PackManifestVersion1_1, noteType,
		oras.PackManifestOptions{Subject: &image, Layers: []ocispec.Descriptor{note}})
	if err != nil {
		t.Fatal(err)
	}
	found, err := registry.Referrers(t.Context(), r, image, noteType)
	if err != nil || len(found) != 1 || found[0].Digest != attached.Digest {
		t.Errorf("oras finds %v, %v, want %s", found, err, attached.Digest)
	}
	if got := (craneClient{t}).referrers(h.address+"/app@"+digest, noteType); got != string(attached.Digest) {
		t.Errorf("go-containerregistry finds %q, want %s", got, attached.Digest)
	}
	other, err := c.repository(h, nobody, h.address+"/copy:v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.ExtendedCopy(t.Context(), r, "v1", other, "v1", oras.DefaultExtendedCopyOptions); err != nil {
		t.Fatal(err)
	}
	if got := (craneClient{t}).referrers(h.address+"/copy@"+digest, noteType); got != string(attached.Digest) {
		t.Errorf("of the copy, go-containerregistry finds %q, want %s", got, attached.Digest)
	}
	if tags := strings.Join(c.tags(other), " "); tags != "v1" {
		t.Errorf("got tags %q of the copy, want v1", tags)
	}
}

func (c orasClient) tags(r *remote.Repository) (all []string) {
	err := r.Tags(c.Context(), "", func(tags []string) error { all = append(all, tags...); return nil })
	if err != nil {
		c.Error(err)
	}
	return all
}
