package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/oci"
)

func (c client) pushBlob(repository, content string) oci.Digest {
	c.Helper()
	c.want(c.upload(repository, []byte(content)), http.StatusCreated)
	return oci.Digest(digestOf([]byte(content)))
}

func (c client) has(repository string, d oci.Digest, want bool) {
	c.Helper()
	status := http.StatusOK
	if !want {
		status = http.StatusNotFound
	}
	c.want(c.do("HEAD", "/v2/"+repository+"/blobs/"+string(d), "", nil), status)
}

func inPool(t testing.TB, dir string) (n int) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".blobs", "sha???", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func collect(t testing.TB, r *Registry, c CollectConfig) *Collected {
	t.Helper()
	time.Sleep(2 * clockTick)
	did, err := r.Collect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return did
}

func TestWhatNoManifestNamesIsCollected(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	manifest := c.push("app", "v1")
	lone := c.pushBlob("app", "a blob whose manifest never came")
	before := inPool(t, dir)

	if did := collect(t, r, CollectConfig{Grace: time.Hour}); did.Blobs != 0 || inPool(t, dir) != before {
		t.Errorf("within the grace: %+v", did)
	}
	time.Sleep(2 * clockTick)
	dry := collect(t, r, CollectConfig{DryRun: true})
	if dry.Blobs != 1 || dry.Bytes != 32 || inPool(t, dir) != before {
		t.Errorf("dry run: %+v, %d of %d blobs left", dry, inPool(t, dir), before)
	}
	did := collect(t, r, CollectConfig{})
	dry.DryRun = false
	if fmt.Sprint(*did) != fmt.Sprint(*dry) || inPool(t, dir) != before-1 {
		t.Errorf("got %+v, the dry run said %+v", *did, *dry)
	}
	c.has("app", lone, false)
	c.pull("app", "v1", manifest)
}

func TestABlobAskedForIsSpared(t *testing.T) {
	c, r := start(t, Config{Dir: t.TempDir()})
	c.push("app", "v1")
	old, asked := c.pushBlob("app", "old"), c.pushBlob("app", "asked for")
	time.Sleep(2100 * time.Millisecond)
	c.has("app", asked, true)
	if _, err := r.Collect(t.Context(), CollectConfig{Grace: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	c.has("app", asked, true)
	c.has("app", old, false)
}

func TestReferrersAndChildrenAreKeptWithWhatTheyBelongTo(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	image := c.push("app", "v1")
	signature := c.refer("app", image, "signature")
	onSignature := c.refer("app", signature, "signature of the signature")
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ociIndex, ociImage, digestOf(image), len(image))
	c.want(c.do("PUT", "/v2/app/manifests/all", ociIndex, bytes.NewReader(index)), http.StatusCreated)
	c.want(c.do("DELETE", "/v2/app/manifests/v1", "", nil), http.StatusAccepted)
	if did := collect(t, r, CollectConfig{Untagged: true}); did.Blobs != 0 || did.Manifests != 0 {
		t.Errorf("the tagged index leads to all, and %+v", did)
	}
	c.want(c.do("DELETE", "/v2/app/manifests/all", "", nil), http.StatusAccepted)
	if did := collect(t, r, CollectConfig{}); did.Blobs != 0 {
		t.Errorf("nobody asked to take what has no tag, and %+v", did)
	}
	did := collect(t, r, CollectConfig{Untagged: true})
	if did.Manifests != 4 || inPool(t, dir) != 0 {
		t.Errorf("got %+v and %d blobs left, want nothing left", did, inPool(t, dir))
	}
	c.want(c.do("GET", "/v2/app/manifests/"+digestOf(onSignature), "", nil), http.StatusNotFound)
}

// refer pushes a manifest about another.
func (c client) refer(repository string, subject []byte, what string) []byte {
	c.Helper()
	config := c.pushBlob(repository, "{}")
	m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},`+
		`"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d},"annotations":{"about":%q}}`,
		ociImage, "test/"+strings.ReplaceAll(what, " ", "-"), config, ociImage, digestOf(subject), len(subject), what)
	c.want(c.do("PUT", "/v2/"+repository+"/manifests/"+digestOf(m), ociImage, bytes.NewReader(m)), http.StatusCreated)
	return m
}

func TestASharedBlobStaysAsLongAsOneRepositoryNeedsIt(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	c.push("one", "v1")
	shared := oci.Digest(digestOf([]byte("layer of onev1")))
	c.want(c.do("POST", "/v2/two/blobs/uploads/?from=one&mount="+string(shared), "", nil), http.StatusCreated)
	if did := collect(t, r, CollectConfig{}); did.Blobs != 0 {
		t.Errorf("got %+v", did)
	}
	c.has("one", shared, true)
}

func TestAPinnedBlobStays(t *testing.T) {
	dir := t.TempDir()
	pinned := oci.SHA256([]byte("pinned"))
	_, r := start(t, Config{Dir: dir, Pinned: func(d oci.Digest) bool { return d == pinned }})
	for _, content := range []string{"pinned", "not pinned"} {
		if err := r.Pool().Put(t.Context(), oci.SHA256([]byte(content)), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if did := collect(t, r, CollectConfig{}); did.Blobs != 1 || did.Kept != 1 {
		t.Errorf("got %+v, want one of two taken", did)
	}
}

// Clients leave out what the registry says it has. Their manifests are never
// refused for it, while all that has no manifest is collected over and over.
func TestPushesGoOnWhileGarbageIsCollected(t *testing.T) {
	c, r := start(t, Config{Dir: t.TempDir()})
	const grace, images = 4 * time.Second, 40
	for i := range images {
		c.pushBlob("app", "layer of "+lazyTag(i))
	}
	time.Sleep(grace + 100*time.Millisecond) // from now on all of it is garbage
	ctx, cancel := context.WithCancel(t.Context())
	var collecting, pushing sync.WaitGroup
	taken := int64(0)
	collecting.Go(func() {
		for ctx.Err() == nil {
			did, err := r.Collect(ctx, CollectConfig{Grace: grace, Untagged: true})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			} else if err == nil {
				taken += did.Blobs
			}
		}
	})
	for k := range 4 {
		pushing.Go(func() {
			for i := k; i < images; i += 4 {
				c.pushLazily("app", lazyTag(i))
			}
		})
	}
	pushing.Wait()
	cancel()
	collecting.Wait()
	for i := range images {
		c.want(c.do("GET", "/v2/app/manifests/"+lazyTag(i), "", nil), http.StatusOK)
		c.has("app", oci.Digest(digestOf([]byte("layer of "+lazyTag(i)))), true)
	}
	t.Logf("%d blobs were collected meanwhile", taken)
}

func lazyTag(i int) string { return fmt.Sprintf("v%d", i) }

// pushLazily pushes an image but for the blobs that are there.
func (c client) pushLazily(repository, tag string) {
	layer, config := []byte("layer of "+tag), []byte("{}")
	for _, b := range [][]byte{layer, config} {
		if c.do("HEAD", "/v2/"+repository+"/blobs/"+digestOf(b), "", nil).StatusCode == http.StatusOK {
			continue
		}
		if a := c.upload(repository, b); a.StatusCode != http.StatusCreated {
			c.Errorf("%s: %s", tag, a.Status)
		}
	}
	m := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[{"mediaType":"x/z","digest":%q,"size":%d}]}`,
		digestOf(config), digestOf(layer), len(layer))
	a := c.do("PUT", "/v2/"+repository+"/manifests/"+tag, manifestType, bytes.NewReader(m))
	if a.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(a.Body)
		c.Errorf("%s: %s %s", tag, a.Status, said)
	}
}

func flip(t testing.TB, dir string, d oci.Digest) {
	t.Helper()
	path := filepath.Join(dir, ".blobs", d.Algorithm(), d.Hex())
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestARottenBlobIsFoundAndNeverServedAgain(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	c.push("app", "v1")
	layer := oci.Digest(digestOf([]byte("layer of appv1")))
	c.want(c.do("POST", "/v2/other/blobs/uploads/?from=app&mount="+string(layer), "", nil), http.StatusCreated)
	c.push("other", "v1")
	flip(t, dir, layer)
	found, err := r.Verify(t.Context(), VerifyConfig{})
	if err != nil || len(found.Rotten) != 1 || found.Rotten[0].Digest != layer {
		t.Fatalf("got %+v and %v, want %s", found, err, layer)
	}
	if in := found.Rotten[0].Repositories; !slices.Equal(in, []string{"app", "other"}) {
		t.Errorf("said to be in %v", in)
	}
	c.has("app", layer, false)
	c.has("other", layer, false)
	c.want(c.do("POST", "/v2/third/blobs/uploads/?from=app&mount="+string(layer), "", nil), http.StatusAccepted)
	collect(t, r, CollectConfig{})
	c.pushBlob("other", "layer of appv1")
	c.has("app", layer, true)
	c.has("other", layer, true)
	if again, err := r.Verify(t.Context(), VerifyConfig{}); err != nil || len(again.Rotten) != 0 {
		t.Errorf("got %+v and %v", again, err)
	}
}

func TestPushingAgainMendsABlobThatWasCutShort(t *testing.T) {
	dir := t.TempDir()
	c, _ := start(t, Config{Dir: dir})
	d := c.pushBlob("app", "whole")
	if err := os.Truncate(filepath.Join(dir, ".blobs", d.Algorithm(), d.Hex()), 2); err != nil {
		t.Fatal(err)
	}
	c.pushBlob("other", "whole")
	for _, repository := range []string{"app", "other"} {
		c.body(c.want(c.send("GET", "/v2/"+repository+"/blobs/"+string(d), nil), http.StatusOK), "whole")
	}
}

func TestARottenManifestIsNotServed(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	manifest := c.push("app", "v1")
	flip(t, dir, oci.Digest(digestOf(manifest)))
	c.want(c.do("GET", "/v2/app/manifests/v1", "", nil), http.StatusNotFound)
	did := collect(t, r, CollectConfig{})
	if !slices.Equal(did.Skipped, []string{"app"}) || did.Blobs != 0 {
		t.Errorf("got %+v, want app left as it is", did)
	}
	c.want(c.do("PUT", "/v2/app/manifests/v1", manifestType, bytes.NewReader(manifest)), http.StatusCreated)
	c.pull("app", "v1", manifest)
}

func TestScrubKeepsToItsRate(t *testing.T) {
	_, r := start(t, Config{Dir: t.TempDir()})
	content := strings.Repeat("x", 100_000)
	if err := r.Pool().Put(t.Context(), oci.SHA256([]byte(content)), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Verify(ctx, VerifyConfig{Rate: 10_000}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("100 kB at 10 kB/s: got %v within 100 ms", err)
	}
}

func TestAnotherProcessCanAskForOrder(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	if _, err := Served(dir); !errors.Is(err, ErrNotServed) {
		t.Fatalf("got %v, want ErrNotServed", err)
	}
	stop, err := r.ServeControl()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	c.push("app", "v1")
	remote, err := Served(dir)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := remote.Verify(t.Context(), VerifyConfig{}); err != nil || found.Blobs != 3 {
		t.Errorf("got %+v and %v, want 3 blobs", found, err)
	}
	if did, err := remote.Collect(t.Context(), CollectConfig{DryRun: true}); err != nil || did.Repositories != 1 || !did.DryRun {
		t.Errorf("got %+v and %v", did, err)
	}
	if info, err := os.Stat(filepath.Join(dir, ".control")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
}

func removeAll(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}
