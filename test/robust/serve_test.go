package robust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"holdfast/internal/deb/debtest"
)

// Every blob and manifest that a registry acknowledged is there, and is what
// its name says, after the registry was killed in the middle of pushes.
func TestWhatARegistryAcknowledgedOutlivesItsKill(t *testing.T) {
	kills := 4
	if soak() {
		kills = 100
	}
	p, r := newPlace(t), seed(t)
	var acknowledged []string
	for k := range kills {
		c, registry := p.serve()
		ctx, cancel := context.WithCancel(t.Context())
		var pushing sync.WaitGroup
		var mu sync.Mutex
		first, tell := context.WithTimeout(t.Context(), time.Minute)
		for i := range 4 {
			pushing.Go(func() {
				for n := uint64(0); ctx.Err() == nil; n++ {
					blob := []byte(debtest.Noise(uint64(k)<<16|uint64(i)<<8|n, 200_000))
					path, err := pushBlob(ctx, "http://"+registry, blob)
					if err != nil {
						return // killed
					}
					mu.Lock()
					acknowledged = append(acknowledged, path)
					mu.Unlock()
					tell()
				}
			})
		}
		<-first.Done()
		time.Sleep(time.Duration(r.Float64() * float64(400*time.Millisecond)))
		_ = c.Process.Kill()
		_ = c.Wait()
		cancel()
		pushing.Wait()
		tell()
	}
	if len(acknowledged) == 0 {
		t.Fatal("no push was acknowledged before a kill: nothing was shown")
	}
	_, registry := p.serve()
	for _, path := range acknowledged {
		if err := fetch("http://"+registry+path, path[len(path)-64:]); err != nil {
			t.Errorf("acknowledged, and then: %v", err)
		}
	}
	t.Logf("%d blobs acknowledged over %d kills", len(acknowledged), kills)
}

// pushBlob pushes in the two steps of the distribution specification, "Pushing
// a blob monolithically", and gives the path at which the blob was made.
func pushBlob(ctx context.Context, registry string, blob []byte) (string, error) {
	begin, err := http.NewRequestWithContext(ctx, http.MethodPost, registry+"/v2/killed/blobs/uploads/", nil)
	if err != nil {
		return "", err
	}
	a, err := http.DefaultClient.Do(begin)
	if err != nil {
		return "", err
	}
	_ = a.Body.Close()
	location, err := a.Location()
	if err != nil {
		return "", err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(blob))
	query := location.Query()
	query.Set("digest", "sha256:"+sum)
	location.RawQuery = query.Encode()
	put, err := http.NewRequestWithContext(ctx, http.MethodPut, location.String(), bytes.NewReader(blob))
	if err != nil {
		return "", err
	}
	put.Header.Set("Content-Type", "application/octet-stream")
	if a, err = http.DefaultClient.Do(put); err != nil {
		return "", err
	}
	_ = a.Body.Close()
	if a.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("push: %s", a.Status)
	}
	return "/v2/killed/blobs/sha256:" + sum, nil
}

func ask(method, url string) (*http.Response, error) {
	q, err := http.NewRequest(method, url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", manifestType)
	return http.DefaultClient.Do(q)
}

func fetch(url, sum string) error {
	a, err := ask(http.MethodGet, url)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if got := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || got != sum {
		return fmt.Errorf("%s: %s, %d bytes of %s: %v", url, a.Status, len(body), got, err)
	}
	return nil
}

func TestASecondServerOfOneFolderIsTold(t *testing.T) {
	p := newPlace(t)
	p.serve()
	out, err := p.command("serve", "--registry-listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("another holdfast serves this folder")) {
		t.Fatalf("got %v, %s, want it told that the folder is served already", err, out)
	}
}
