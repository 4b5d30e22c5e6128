package volumes

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

const uid = "0b0f1fd0-9d23-4b9c-8f0a-1f1f1f1f1f1f"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func claim() *core.PersistentVolumeClaim {
	class := "local"
	return &core.PersistentVolumeClaim{
		ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "data", UID: uid, Annotations: map[string]string{selectedNode: "here"}},
		Spec: core.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			Resources: core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

// begin runs a controller over these objects. Client-go's fake stands for the
// API server: it keeps objects and tells of changes, and checks nothing.
func begin(t *testing.T, objects ...runtime.Object) (*Controller, *record.FakeRecorder) {
	t.Helper()
	client := fake.NewClientset(append(objects, &storage.StorageClass{ObjectMeta: meta.ObjectMeta{Name: "local"}, Provisioner: Provisioner})...)
	events := record.NewFakeRecorder(8)
	factory := informers.NewSharedInformerFactory(client, 0)
	v, err := New(Config{Node: "here", Dir: filepath.Join(t.TempDir(), "volumes"), Client: client, Events: events,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, factory)
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return v, events
}

// event waits for what is said about a claim.
func event(t *testing.T, events *record.FakeRecorder) string {
	t.Helper()
	select {
	case e := <-events.Events:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event in 20 seconds")
		return ""
	}
}

func TestClaimGetsAFolderOfItsNode(t *testing.T) {
	v, events := begin(t, claim())
	if got := event(t, events); !strings.Contains(got, "ProvisioningSucceeded") {
		t.Fatalf("got %q", got)
	}
	pv, err := v.Client.CoreV1().PersistentVolumes().Get(t.Context(), "pvc-"+uid, meta.GetOptions{})
	check(t, err)
	if want := filepath.Join(v.Dir, "pvc-"+uid); pv.Spec.Local.Path != want || pv.Spec.ClaimRef.UID != uid || !v.isOurs(pv) {
		t.Errorf("got %+v, want %s for the claim", pv.Spec, want)
	}
	info, err := os.Stat(pv.Spec.Local.Path)
	check(t, err)
	if above, err := os.Stat(v.Dir); err != nil || info.Mode().Perm() != 0o777 || above.Mode().Perm() != 0o700 {
		t.Errorf("got modes %v in %v, %v, want rwx for all in a folder of root's", info.Mode(), above.Mode(), err)
	}
}

func TestClaimThatAFolderCannotBeIsToldWhy(t *testing.T) {
	shared := claim()
	shared.Spec.AccessModes = []core.PersistentVolumeAccessMode{core.ReadWriteMany}
	_, events := begin(t, shared)
	if got := event(t, events); !strings.Contains(got, "cannot be ReadWriteMany") {
		t.Errorf("got %q, want the mode named", got)
	}
}

func TestClaimOfAnotherNodeIsLeftAlone(t *testing.T) {
	other := claim()
	other.Annotations[selectedNode] = "there"
	v, _ := begin(t, other)
	if !cache.WaitForCacheSync(t.Context().Done(), v.synced...) {
		t.Fatal(t.Context().Err())
	}
	check(t, v.claim(t.Context(), other.Namespace, other.Name))
	if left, _ := filepath.Glob(filepath.Join(v.Dir, "*")); len(left) != 0 {
		t.Errorf("got %v, want nothing", left)
	}
}

// released is a volume whose claim is gone.
func released(v *Controller) *core.PersistentVolume {
	pv := v.describe(claim(), &storage.StorageClass{})
	pv.Status.Phase = core.VolumeReleased
	return pv
}

func TestReleasedVolumeGoesWithItsFolder(t *testing.T) {
	v, _ := begin(t)
	pv := released(v)
	check(t, os.MkdirAll(filepath.Join(pv.Spec.Local.Path, "deep"), 0o700))
	_, err := v.Client.CoreV1().PersistentVolumes().Create(t.Context(), pv, meta.CreateOptions{})
	check(t, err)
	for range 400 {
		if _, err = v.Client.CoreV1().PersistentVolumes().Get(t.Context(), pv.Name, meta.GetOptions{}); apierrors.IsNotFound(err) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, there := os.Stat(pv.Spec.Local.Path); !apierrors.IsNotFound(err) || !os.IsNotExist(there) {
		t.Errorf("got %v and %v, want both gone", err, there)
	}
}

func TestVolumeThatSomebodyElseWroteRemovesNothing(t *testing.T) {
	v := &Controller{Config: Config{Node: "here", Dir: "/volumes"}}
	for name, change := range map[string]func(*core.PersistentVolume){
		"another path": func(pv *core.PersistentVolume) { pv.Spec.Local.Path = "/etc" },
		"a path out":   func(pv *core.PersistentVolume) { pv.Name = ".."; pv.Spec.Local.Path = "/" },
		"another name": func(pv *core.PersistentVolume) { pv.Name = "data"; pv.Spec.Local.Path = "/volumes/data" },
		"another node": func(pv *core.PersistentVolume) {
			pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "there"
		},
		"another maker": func(pv *core.PersistentVolume) { pv.Annotations[provisionedBy] = "x" },
		"no folder":     func(pv *core.PersistentVolume) { pv.Spec.Local = nil },
	} {
		pv := released(v)
		if !v.isOurs(pv) {
			t.Fatal("its own volume is not ours")
		}
		change(pv)
		if v.isOurs(pv) {
			t.Errorf("%s: it would be removed", name)
		}
	}
}
