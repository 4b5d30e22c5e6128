package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	listers "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// anyPod is a peer that every pod of every namespace is.
var anyPod = networking.NetworkPolicyPeer{NamespaceSelector: &meta.LabelSelector{}}

// A Guard keeps the rules of a node to what the API says.
type Guard struct {
	node       string
	log        *slog.Logger
	namespaces corelisters.NamespaceLister
	pods       corelisters.PodLister
	policies   listers.NetworkPolicyLister
	synced     []cache.InformerSynced
	changed    chan struct{} // holds one word: something did

	mu      sync.Mutex
	given   map[types.UID]netip.Addr // under mu
	applied string                   // under mu
}

// New makes the Guard of a node. The factory is started by the caller.
func New(node string, f informers.SharedInformerFactory, log *slog.Logger) (*Guard, error) {
	namespaces, pods, policies := f.Core().V1().Namespaces(), f.Core().V1().Pods(), f.Networking().V1().NetworkPolicies()
	g := &Guard{
		node: node, log: log, namespaces: namespaces.Lister(), pods: pods.Lister(), policies: policies.Lister(),
		changed: make(chan struct{}, 1), given: map[types.UID]netip.Addr{},
	}
	for _, informer := range []cache.SharedIndexInformer{namespaces.Informer(), pods.Informer(), policies.Informer()} {
		handler := cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { g.touch() }, UpdateFunc: func(any, any) { g.touch() }, DeleteFunc: func(any) { g.touch() },
		}
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
		g.synced = append(g.synced, informer.HasSynced)
	}
	return g, nil
}

func (g *Guard) touch() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// settle is how long changes are waited for that come together.
const settle = 100 * time.Millisecond

// bridged makes frames between pods of one bridge go through the rules.
const bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// Run keeps the rules until ctx ends. They stay when it returns.
func (g *Guard) Run(ctx context.Context) error {
	if err := os.WriteFile(bridged, []byte("1"), 0); err != nil {
		return fmt.Errorf("pods of one node would reach one another past their policies: the kernel needs br_netfilter: %w", err)
	}
	if !cache.WaitForCacheSync(ctx.Done(), g.synced...) {
		return nil // ctx ended
	}
	for {
		if err := g.apply(ctx); err != nil && ctx.Err() == nil {
			g.log.Error("rules were not replaced", "error", err)
			g.touch()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.changed:
		}
	}
}

// apply gives the kernel the rules, if they are others than it has.
func (g *Guard) apply(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	w, err := g.world()
	if err != nil {
		return err
	}
	rules := Render(w)
	if rules == g.applied {
		return nil
	}
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	g.applied = rules
	return nil
}

// world reads what there is, and forgets addresses of pods that are gone. It
// is called with mu held.
func (g *Guard) world() (w World, err error) {
	var errs [3]error
	w.Node = g.node
	w.Namespaces, errs[0] = g.namespaces.List(labels.Everything())
	w.Pods, errs[1] = g.pods.List(labels.Everything())
	w.Policies, errs[2] = g.policies.List(labels.Everything())
	there := map[types.UID]bool{}
	for _, p := range w.Pods {
		there[p.UID] = true
	}
	maps.DeleteFunc(g.given, func(id types.UID, _ netip.Addr) bool { return !there[id] })
	w.Given = maps.Clone(g.given)
	return w, errors.Join(errs[:]...)
}

// Admit returns when the rules hold for a pod that was given this address.
func (g *Guard) Admit(ctx context.Context, namespace, name string, id types.UID, a netip.Addr) error {
	if !cache.WaitForCacheSync(ctx.Done(), g.synced...) {
		return ctx.Err()
	}
	for {
		p, err := g.pods.Pods(namespace).Get(name)
		if err == nil && (p.UID == id || p.Annotations[core.MirrorPodAnnotationKey] == string(id)) {
			id = p.UID
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pod %s/%s: the API server did not tell of it", namespace, name)
		case <-time.After(20 * time.Millisecond):
		}
	}
	g.mu.Lock()
	g.given[id] = a
	g.mu.Unlock()
	return g.apply(ctx)
}
