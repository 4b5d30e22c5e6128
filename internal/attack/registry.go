package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

// What the way of an image promises.
const (
	pinned = "a machine runs the bytes that its configuration's digest names, whatever the registry does"
	macked = "nothing of an encrypted layer is used, or seen, before its MAC was found good"
	faith  = "a machine speaks to the registry that its configuration names, and does not wait for ever"
)

// pulled shows that a machine comes to an image that nobody touched.
var pulled = Control{Name: "an encrypted image is pulled, verified, decrypted and unpacked", Run: func(ctx context.Context, l *Lab) error {
	s, err := l.site(ctx)
	if err != nil {
		return err
	}
	w, err := s.encrypted(ctx, "genuine")
	if err != nil {
		return err
	}
	rootfs, err := w.run(ctx, pull{})
	if err != nil {
		return err
	}
	for n := range w.manifest.Layers {
		got, err := os.ReadFile(filepath.Join(rootfs, fmt.Sprintf("canary%d", n)))
		if err != nil || string(got) != canary {
			return errors.Join(fmt.Errorf("layer %d has %q", n, got), err)
		}
	}
	return nil
}}

// spoiling is an attack on an encrypted image in the registry.
func spoiling(name, promise, change, reason string, spoil func(ctx context.Context, w *workload) (pull, error)) Attack {
	return Attack{Name: name, Promise: promise, Change: change, Want: Refusal{Guest, reason}, Control: pulled,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			w, err := s.encrypted(ctx, name)
			if err != nil {
				return Refusal{}, err
			}
			p, err := spoil(ctx, w)
			if err != nil {
				return Refusal{}, err
			}
			return w.refused(ctx, p)
		}}
}

// here is a change in the registry's own files.
func here(change func(w *workload) error) func(context.Context, *workload) (pull, error) {
	return func(_ context.Context, w *workload) (pull, error) { return pull{}, change(w) }
}

func registryAttacks() []Attack {
	return in("registry",
		spoiling("layer-flipped", pinned, "one byte in the midst of a layer is inverted", "altered in the registry",
			onLayer(send(func(layer []byte) []byte { layer[len(layer)/2] ^= 0xff; return layer }))),
		spoiling("layer-truncated", pinned, "the second half of a layer is left out", "bytes are missing",
			onLayer(send(func(layer []byte) []byte { return layer[:len(layer)/2] }))),
		spoiling("layer-lengthened", pinned, "a byte is appended to a layer", "it is longer than the manifest says",
			onLayer(send(func(layer []byte) []byte { return append(layer, 0) }))),
		spoiling("layers-swapped", pinned, "the registry serves one layer for another of the same size", "altered in the registry",
			swapLayers),
		spoiling("config-swapped", pinned, "a letter of the image's config is another", "config: digest is",
			swapConfig),
		spoiling("re-tagged", pinned, "the tag names another image now, and the pinned one is gone", "404 Not Found", here(retag)),
		spoiling("other-manifest", pinned, "the registry serves another image's manifest under the pinned digest", "manifest: digest is", otherManifest),
		spoiling("other-annotations", macked, "the layer has the key and MAC of another image's layer; the machine is told to run the result", enc.ErrMAC.Error(), otherAnnotations),
		spoiling("mac-removed", macked, "the MAC is taken out of the annotations; the machine is told to run the result", "HMAC has 0 bytes, want 32",
			here(func(w *workload) error { return w.remac(func(o map[string]any) { delete(o, "hmac") }) })),
		spoiling("mac-wrong", macked, "the MAC is another's; the machine is told to run the result", enc.ErrMAC.Error(), here(wrongMAC)),
		spoiling("encryption-denied", macked, "the manifest says that the encrypted layer is a plain one; the machine is told to run the result", "invalid tar header",
			here(func(w *workload) error {
				w.manifest.Layers[0].MediaType = w.manifest.Layers[0].MediaType[:len(w.manifest.Layers[0].MediaType)-len(enc.Suffix)]
				return w.repin()
			})),
		seenBeforeMAC(),
		spoiling("registry-redirects", faith, "the registry sends the machine to another host for a layer", "redirects to elsewhere.example", onLayer(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, "https://elsewhere.example"+r.URL.Path, http.StatusTemporaryRedirect)
		})),
		spoiling("registry-impersonated", faith, "another server answers at the registry's address, certified by another authority", "certificate signed by unknown authority", impersonated),
		spoiling("registry-stalls", faith, "the registry stops in the midst of a layer, and keeps the connection", "sent nothing for", onLayer(stall)),
		spoiling("connection-cut", faith, "the connection breaks in the midst of a layer, each time", "hung up", onLayer(cut)),
	)
}

// served is a change that a rogue registry makes while it serves.
func served(h rogue) func(context.Context, *workload) (pull, error) {
	return func(_ context.Context, w *workload) (pull, error) {
		e, err := w.site.rogue(w.site.ring, h)
		return pull{registry: e}, err
	}
}

func swapLayers(ctx context.Context, w *workload) (pull, error) {
	layers := w.manifest.Layers
	if layers[0].Size != layers[1].Size {
		return pull{}, errors.New("the layers are not of one size")
	}
	other, err := os.ReadFile(w.layer(1))
	if err != nil {
		return pull{}, err
	}
	return onLayer(send(func([]byte) []byte { return other }))(ctx, w)
}

// retag puts an image into the place of this one, as a push and a collection
// of garbage would.
func retag(w *workload) error {
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	_, err := compose(w.dir, archive(file("evil", []byte("evil"))))
	return err
}

// swapConfig puts a config of the same size.
func swapConfig(ctx context.Context, w *workload) (pull, error) {
	digest := oci.Digest(w.manifest.Config.Digest)
	genuine, err := os.ReadFile(w.blob(digest))
	if err != nil {
		return pull{}, err
	}
	changed := bytes.Replace(genuine, []byte(`"linux"`), []byte(`"Linux"`), 1)
	if bytes.Equal(changed, genuine) {
		return pull{}, errors.New("the config does not name its system")
	}
	return served(on(string(digest), func(a http.ResponseWriter, _ *http.Request) { _, _ = a.Write(changed) }))(ctx, w)
}

// otherManifest has a good image of the same registry answer for this one.
func otherManifest(ctx context.Context, w *workload) (pull, error) {
	other, err := w.site.encrypted(ctx, w.name+"-other")
	if err != nil {
		return pull{}, err
	}
	manifest, err := os.ReadFile(other.blob(other.digest))
	if err != nil {
		return pull{}, err
	}
	return served(on("/manifests/", func(a http.ResponseWriter, _ *http.Request) {
		a.Header().Set("Content-Type", other.manifest.MediaType)
		_, _ = a.Write(manifest)
	}))(ctx, w)
}

func impersonated(ctx context.Context, w *workload) (pull, error) {
	ring, err := w.site.lab.foreignKeys(ctx)
	if err != nil {
		return pull{}, err
	}
	e, err := w.site.rogue(ring, func(a http.ResponseWriter, r *http.Request, genuine http.Handler) { genuine.ServeHTTP(a, r) })
	return pull{registry: e}, err
}

// onLayer is what a rogue registry does when it is asked for the first layer.
func onLayer(answer func(w http.ResponseWriter, r *http.Request, genuine []byte)) func(context.Context, *workload) (pull, error) {
	return func(ctx context.Context, w *workload) (pull, error) {
		layer, err := os.ReadFile(w.layer(0))
		if err != nil {
			return pull{}, err
		}
		return served(on(string(w.manifest.Layers[0].Digest), func(a http.ResponseWriter, r *http.Request) {
			answer(a, r, layer)
		}))(ctx, w)
	}
}

// send answers with the layer after change.
func send(change func(layer []byte) []byte) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, layer []byte) { _, _ = w.Write(change(bytes.Clone(layer))) }
}

func stall(w http.ResponseWriter, r *http.Request, layer []byte) {
	_, _ = w.Write(layer[:len(layer)/2])
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func cut(w http.ResponseWriter, _ *http.Request, layer []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
	_, _ = w.Write(layer[:len(layer)/2])
	panic(http.ErrAbortHandler)
}
