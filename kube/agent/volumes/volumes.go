// Package volumes gives claims a folder of the node that their pod runs on.
//
// A claim whose class names Provisioner, and whose pod was scheduled here, gets
// a PersistentVolume of kind local. When the claim is gone and the class says
// Delete, the folder goes with it. Sizes are noted and not enforced.
//
// https://kubernetes.io/docs/concepts/storage/volumes/#local
package volumes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

const (
	// Provisioner is what a StorageClass of these volumes names.
	Provisioner = "holdfast.invalid/folder"

	selectedNode  = "volume.kubernetes.io/selected-node"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// Config says which node's volumes these are.
type Config struct {
	Node   string
	Dir    string // holds a folder for each volume
	Client kubernetes.Interface
	Events record.EventRecorder
	Log    *slog.Logger
}

// A Controller makes and removes the volumes of one node.
type Controller struct {
	Config
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	synced  []cache.InformerSynced
	queue   workqueue.TypedRateLimitingInterface[string] // keys of claims, and names of volumes
}

// New makes a Controller. The factory is started by the caller.
func New(c Config, f informers.SharedInformerFactory) (*Controller, error) {
	claims, volumes, classes := f.Core().V1().PersistentVolumeClaims(), f.Core().V1().PersistentVolumes(), f.Storage().V1().StorageClasses()
	v := &Controller{
		Config: c, claims: claims.Lister(), volumes: volumes.Lister(), classes: classes.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	add := func(o any) {
		if key, err := cache.MetaNamespaceKeyFunc(o); err == nil {
			v.queue.Add(key)
		}
	}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }}); err != nil {
			return nil, err
		}
		v.synced = append(v.synced, informer.HasSynced)
	}
	v.synced = append(v.synced, classes.Informer().HasSynced)
	return v, nil
}

// Run works until ctx ends.
func (v *Controller) Run(ctx context.Context) error {
	if err := os.MkdirAll(v.Dir, 0o700); err != nil {
		return err
	}
	if !cache.WaitForCacheSync(ctx.Done(), v.synced...) {
		return nil // ctx ended
	}
	stop := context.AfterFunc(ctx, v.queue.ShutDown)
	defer stop()
	for {
		key, down := v.queue.Get()
		if down {
			return nil
		}
		v.work(ctx, key)
	}
}

func (v *Controller) work(ctx context.Context, key string) {
	defer v.queue.Done(key)
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err == nil && namespace != "" {
		err = v.claim(ctx, namespace, name)
	} else if err == nil {
		err = v.volume(ctx, name)
	}
	if err != nil && ctx.Err() == nil {
		v.Log.Error("volume", "of", key, "error", err)
		v.queue.AddRateLimited(key)
		return
	}
	v.queue.Forget(key)
}

// claim gives a claim its volume, when it is for this node to do.
func (v *Controller) claim(ctx context.Context, namespace, name string) error {
	claim, err := v.claims.PersistentVolumeClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Annotations[selectedNode] != v.Node || claim.Spec.StorageClassName == nil {
		return err
	}
	class, err := v.classes.Get(*claim.Spec.StorageClassName)
	if apierrors.IsNotFound(err) || err == nil && class.Provisioner != Provisioner {
		return nil
	}
	if err != nil {
		return err
	}
	if err := fits(&claim.Spec); err != nil {
		v.Events.Event(claim, core.EventTypeWarning, "ProvisioningFailed", err.Error())
		return nil
	}
	return v.provision(ctx, claim, class)
}

// fits says why a folder cannot be what a claim wants.
func fits(s *core.PersistentVolumeClaimSpec) error {
	if s.VolumeMode != nil && *s.VolumeMode != core.PersistentVolumeFilesystem {
		return errors.New("a volume of this class is a folder, not a block device")
	}
	if s.Selector != nil {
		return errors.New("a volume of this class is made for its claim: it has no labels to select")
	}
	if s.DataSource != nil || s.DataSourceRef != nil {
		return errors.New("a volume of this class begins empty: it has no data source")
	}
	for _, mode := range s.AccessModes {
		if mode != core.ReadWriteOnce && mode != core.ReadWriteOncePod {
			return fmt.Errorf("a volume of this class is on one node: it cannot be %s", mode)
		}
	}
	return nil
}

func (v *Controller) provision(ctx context.Context, claim *core.PersistentVolumeClaim, class *storage.StorageClass) error {
	pv := v.describe(claim, class)
	// Whoever runs in the pod may write; nobody else gets past the folder above.
	if err := os.Mkdir(pv.Spec.Local.Path, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chmod(pv.Spec.Local.Path, 0o777); err != nil { // whatever the umask
		return err
	}
	_, err := v.Client.CoreV1().PersistentVolumes().Create(ctx, pv, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		v.Events.Eventf(claim, core.EventTypeNormal, "ProvisioningSucceeded", "made %s on %s", pv.Name, v.Node)
	}
	return err
}

func (v *Controller) describe(claim *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	policy := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: Provisioner}},
		Spec: core.PersistentVolumeSpec{
			StorageClassName: class.Name, AccessModes: claim.Spec.AccessModes, PersistentVolumeReclaimPolicy: policy,
			Capacity: core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: filepath.Join(v.Dir, name)}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{v.Node}}},
			}}}},
		},
	}
}

// nameForm is what provision calls volumes: nothing else is ever removed.
var nameForm = regexp.MustCompile(`^pvc-[0-9a-f-]{36}$`)

// volume removes a volume of this node whose claim is gone.
func (v *Controller) volume(ctx context.Context, name string) error {
	pv, err := v.volumes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !v.isOurs(pv) || pv.Status.Phase != core.VolumeReleased || pv.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return err
	}
	if err := os.RemoveAll(pv.Spec.Local.Path); err != nil {
		return err
	}
	err = v.Client.CoreV1().PersistentVolumes().Delete(ctx, name, meta.DeleteOptions{
		Preconditions: &meta.Preconditions{UID: &pv.UID}, GracePeriodSeconds: new(int64),
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// isOurs says whether this node made a volume. Its path is compared, not
// believed: a volume is an object that others may write.
func (v *Controller) isOurs(pv *core.PersistentVolume) bool {
	if pv.Annotations[provisionedBy] != Provisioner || pv.Spec.Local == nil || !nameForm.MatchString(pv.Name) || pv.Spec.NodeAffinity == nil {
		return false
	}
	here := func(t core.NodeSelectorTerm) bool {
		return slices.ContainsFunc(t.MatchExpressions, func(r core.NodeSelectorRequirement) bool {
			return r.Key == core.LabelHostname && slices.Equal(r.Values, []string{v.Node})
		})
	}
	required := pv.Spec.NodeAffinity.Required
	return required != nil && slices.ContainsFunc(required.NodeSelectorTerms, here) && pv.Spec.Local.Path == filepath.Join(v.Dir, pv.Name)
}

// Resync is how often everything is looked at again.
const Resync = 10 * time.Minute
