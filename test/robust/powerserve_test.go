package robust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/deb/debtest"
)

// A push is a blob and a tagged manifest of it alone.
type push struct {
	blob, manifest []byte
	tag            string
	has            bool // acknowledged
}

func newPush(k, i, n int) *push {
	p := &push{tag: fmt.Sprintf("t%d-%d-%d", k, i, n)}
	p.blob = []byte(p.tag + debtest.Noise(uint64(n), 100_000))
	const blob = `{"mediaType": %q, "digest": "sha256:%x", "size": %d}`
	sum := sha256.Sum256(p.blob)
	config := fmt.Sprintf(blob, "application/vnd.oci.image.config.v1+json", sum, len(p.blob))
	p.manifest = fmt.Appendf(nil, `{"schemaVersion": 2, "mediaType": %q, "config": %s, "layers": [%s]}`, manifestType, config, config)
	return p
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func (p *push) run(ctx context.Context, registry string) error {
	if _, err := pushBlob(ctx, registry, p.blob); err != nil {
		return err
	}
	put, err := http.NewRequestWithContext(ctx, http.MethodPut, registry+"/v2/killed/manifests/"+p.tag, bytes.NewReader(p.manifest))
	if err != nil {
		return err
	}
	put.Header.Set("Content-Type", manifestType)
	a, err := http.DefaultClient.Do(put)
	if err != nil {
		return err
	}
	_ = a.Body.Close()
	if a.StatusCode != http.StatusCreated {
		return fmt.Errorf("push %s: %s", p.tag, a.Status)
	}
	p.has = true
	return nil
}

// check wants what was acknowledged, and of the rest nothing or all of it. A
// blob is promised to outlive a power cut with the manifest that names it.
func (p *push) check(registry string) error {
	blob := fmt.Sprintf("/v2/killed/blobs/sha256:%x", sha256.Sum256(p.blob))
	manifest := "/v2/killed/manifests/" + p.tag
	for _, part := range []struct {
		path  string
		bytes []byte
		acked bool
	}{{blob, p.blob, p.has}, {manifest, p.manifest, p.has}} {
		a, err := ask(http.MethodHead, registry+part.path)
		if err != nil {
			return err
		}
		_ = a.Body.Close()
		if a.StatusCode == http.StatusNotFound && !part.acked {
			continue
		}
		if err := fetch(registry+part.path, fmt.Sprintf("%x", sha256.Sum256(part.bytes))); err != nil {
			return fmt.Errorf("acknowledged is %v, and then: %w", part.acked, err)
		}
	}
	return nil
}

// keepPushing pushes until the registry is gone, and tells of what it acknowledged.
func keepPushing(ctx context.Context, registry string, k, i int, tell func()) (all []*push) {
	for n := 0; ctx.Err() == nil; n++ {
		p := newPush(k, i, n)
		all = append(all, p)
		if p.run(ctx, registry) != nil {
			break
		}
		tell()
	}
	return all
}

// pushUntilCut pushes from several sides, while the kernel writes this and that.
func (d *disk) pushUntilCut(p *place, r *rand.Rand, k int) (all []*push) {
	c, registry := p.serve()
	ctx, cancel := context.WithCancel(d.t.Context())
	defer cancel()
	first, tell := context.WithTimeout(ctx, time.Minute)
	defer tell()
	var pushing sync.WaitGroup
	var mu sync.Mutex
	for i := range 4 {
		pushing.Go(func() {
			pushed := keepPushing(ctx, "http://"+registry, k, i, tell)
			mu.Lock()
			all = append(all, pushed...)
			mu.Unlock()
		})
	}
	<-first.Done()
	for range 2 + r.IntN(12) {
		time.Sleep(time.Duration(r.Float64() * float64(40*time.Millisecond)))
		d.flush(r.IntN(8) == 0)
	}
	d.cut()
	_ = c.Process.Kill()
	_ = c.Wait()
	cancel()
	pushing.Wait()
	return all
}

func TestWhatARegistryAcknowledgedOutlivesAPowerCut(t *testing.T) {
	cuts := 3
	if soak() {
		cuts = 25
	}
	r, d := seed(t), newDisk(t)
	p := &place{t: t, dir: d.at, state: filepath.Join(d.at, "state")}
	var all []*push
	for k := range cuts {
		all = append(all, d.pushUntilCut(p, r, k)...)
		d.start()
		c, registry := p.serve()
		acked := 0
		for _, push := range all {
			if err := push.check("http://" + registry); err != nil {
				t.Errorf("cut %d: %v", k, err)
			}
			if push.has {
				acked++
			} else if err := push.run(t.Context(), "http://"+registry); err != nil {
				t.Errorf("cut %d: pushed again: %v", k, err)
			} else if err := push.check("http://" + registry); err != nil {
				t.Errorf("cut %d: pushed again: %v", k, err)
			}
		}
		if acked == 0 {
			t.Errorf("cut %d: no push was acknowledged before: nothing was shown", k)
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	t.Logf("%d pushes over %d cuts", len(all), cuts)
}
