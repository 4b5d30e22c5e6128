package attack

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/internal/enc"
)

// otherAnnotations gives the machine both images' keys, too: only the MAC is
// left to refuse.
func otherAnnotations(ctx context.Context, w *workload) (pull, error) {
	other, err := w.site.encrypted(ctx, w.name+"-other")
	if err != nil {
		return pull{}, err
	}
	w.keys = append(w.keys, other.keys...)
	w.manifest.Layers[0].Annotations = other.manifest.Layers[0].Annotations
	return pull{}, w.repin()
}

// remac changes the public options of the last layer, which hold its MAC.
func (w *workload) remac(change func(map[string]any)) error {
	annotations := w.manifest.Layers[len(w.manifest.Layers)-1].Annotations
	raw, err := base64.StdEncoding.DecodeString(annotations[enc.AnnotationOptions])
	if err != nil {
		return err
	}
	options := map[string]any{}
	if err := json.Unmarshal(raw, &options); err != nil {
		return err
	}
	if _, ok := options["hmac"].(string); !ok {
		return fmt.Errorf("no MAC in %s", raw)
	}
	change(options)
	if raw, err = json.Marshal(options); err != nil {
		return err
	}
	annotations[enc.AnnotationOptions] = base64.StdEncoding.EncodeToString(raw)
	return w.repin()
}

func wrongMAC(w *workload) error {
	return w.remac(func(o map[string]any) { o["hmac"] = base64.StdEncoding.EncodeToString(make([]byte, 32)) })
}

// seenBeforeMAC holds the end of a layer back until the guest has unpacked
// what came before, and looks where the workload would see it.
func seenBeforeMAC() Attack {
	a := spoiling("seen-before-mac", macked, "the registry holds the end of a layer with a wrong MAC back, and looks what can be seen meanwhile",
		enc.ErrMAC.Error(), nil)
	a.Run = func(ctx context.Context, l *Lab) (Refusal, error) {
		s, err := l.site(ctx)
		if err != nil {
			return Refusal{}, err
		}
		w, err := s.encrypted(ctx, a.Name)
		if err != nil {
			return Refusal{}, err
		}
		if err := wrongMAC(w); err != nil {
			return Refusal{}, err
		}
		return w.watched(ctx)
	}
	return a
}

func (w *workload) watched(ctx context.Context) (Refusal, error) {
	dir, err := w.site.lab.Folder(w.name)
	if err != nil {
		return Refusal{}, err
	}
	raw, err := os.ReadFile(w.layer(1))
	if err != nil {
		return Refusal{}, err
	}
	seen := make(chan []string, 1)
	p, err := served(on(string(w.manifest.Layers[1].Digest), func(a http.ResponseWriter, _ *http.Request) {
		const end = layerSize / 4
		_, _ = a.Write(raw[:len(raw)-end])
		_ = http.NewResponseController(a).Flush()
		seen <- waitFor(filepath.Join(dir, "*", "canary1"))
		_, _ = a.Write(raw[len(raw)-end:])
	}))(ctx, w)
	if err != nil {
		return Refusal{}, err
	}
	p.dir, p.silence = dir, 2*unpackTime
	_, told := w.run(ctx, p)
	left, err := os.ReadDir(dir)
	if err != nil {
		return Refusal{}, err
	}
	unpacked := <-seen
	switch {
	case len(unpacked) == 0:
		return Refusal{}, errors.New("nothing was unpacked while the layer came: there was nothing to see")
	case slices.ContainsFunc(unpacked, func(path string) bool { return filepath.Base(filepath.Dir(path)) == "rootfs" }):
		return Broke("%s was where the workload sees it", canary), nil
	case told == nil:
		return Broke("the image was unpacked"), nil
	case len(left) > 0:
		return Broke("it was refused (%v), but %s was left", told, left[0].Name()), nil
	}
	return Refusal{Guest, told.Error()}, nil
}

// unpackTime is how long what came may take to be unpacked.
const unpackTime = 20 * time.Second

// waitFor returns the files that a pattern matches, as soon as there are any,
// or none after a while.
func waitFor(pattern string) []string {
	for end := time.Now().Add(unpackTime); time.Now().Before(end); {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			return found
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}
