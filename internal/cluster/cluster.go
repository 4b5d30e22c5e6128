// Package cluster makes Kubernetes clusters of container machines: their keys, the
// settings of their components, and their lives from create to delete.
//
// What a cluster is stands in its folder before anything of it exists outside, and every
// step can be done again. So whoever was killed on the way is finished by the next
// create, or cleaned by the next delete.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/progress"
)

// Errors that a caller may branch on.
var (
	ErrNone = errors.New("there is no such cluster")
	ErrBusy = errors.New("another program creates or deletes it just now")
	// ErrTaken is that a network's addresses are another network's of this host.
	ErrTaken = errors.New("the addresses of its network are another's by now")
)

// MaxNodes is how many nodes a cluster may have on one machine.
const MaxNodes = 32

// A Network is where a cluster's nodes are: a bridge of their own.
type Network struct {
	ID      string       `json:"id"` // of all that the host has of the cluster
	Subnet  netip.Prefix `json:"subnet"`
	Gateway netip.Addr   `json:"gateway"`
	MTU     int          `json:"mtu"`
	Tree    string       `json:"tree,omitempty"` // of a node: what makes its rules
	// Published are ports of this machine that lead to First, the first node.
	Published []Published `json:"published,omitempty"`
}

// First is the first node's address.
func (n Network) First() netip.Addr { return nth(n.Subnet, 2) }

// A Handle names a machine that was started. Only Machines know what is in it.
type Handle = json.RawMessage

// Machines start, find and stop the machines that nodes are.
type Machines interface {
	// Check says what this host lacks.
	Check() error
	// PortFree says which program or setting keeps a port of this host from being published.
	PortFree(Published) error
	// Taken lists the networks that this host knows.
	Taken() ([]netip.Prefix, error)
	// Connect makes the network, and is done again without harm. ErrTaken: another
	// came first.
	Connect(n Network) error
	// Disconnect takes all of it away that is there.
	Disconnect(n Network) error
	// Start starts the machine with this index in its network, and tells who
	// it is before anything is made for it.
	Start(n Network, index int, log string, m api.ContainerMachine, begun func(Handle) error) error
	Alive(h Handle) (bool, error)
	// Stop ends a machine and takes away what is left of it. It may be gone.
	Stop(n Network, name string, h Handle, grace time.Duration) error
}

// Components are what nodes run. All paths are this host's.
type Components struct {
	Version string // of Kubernetes
	Tree    string // folder: the root of a node
	// Files are programs and images by where nodes have them: bin/kube,
	// bin/containerd, cni/bridge, images/pause.tar.
	Files   map[string]string
	Pause   string // names of images in there
	CoreDNS string
	Metrics string
	Pods    *PodMachines // nil: pods are not machines
}

// A Registry is where nodes find images, besides those that they have.
type Registry struct {
	Names  []string // as images name it: 127.0.0.1:5000
	Port   uint16   // of the node's loopback, carried to Socket
	Socket string   // of the host
}

// A Config holds what clusters are made with.
type Config struct {
	Dir      string // folder that holds a folder for each cluster
	Machines Machines
	// Components are built when they are asked for; those of a confidential cluster
	// have Pods.
	Components func(ctx context.Context, x Extras) (*Components, error)
	Registry   Registry
	Resolvers  []netip.Addr // of this machine; nodes ask them
	MTU        int          // of the way to the outside
	Restricted bool         // this host gives no CAP_SYS_RESOURCE
	Progress   progress.Reporter
	Now        func() time.Time
}

// A Fleet is all clusters of one folder.
type Fleet struct{ Config }

// New makes a Fleet.
func New(c Config) (*Fleet, error) {
	if c.Dir == "" || c.Machines == nil || c.Components == nil {
		return nil, errors.New("cluster: folder, machines and components are all needed")
	}
	c.Progress = progress.Or(c.Progress)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Fleet{c}, nil
}

// Extras are what only clusters have that were made with it: RuntimeClasses
// whose programs others need not build.
type Extras struct {
	Confidential bool `json:"confidential,omitempty"` // pods may be machines
	GVisor       bool `json:"gvisor,omitempty"`       // pods may have gVisor's kernel
}

// A Spec is what a cluster is, as its folder keeps it.
type Spec struct {
	Name     string       `json:"name"`
	Created  time.Time    `json:"created"`
	Network  Network      `json:"network"`
	Pods     netip.Prefix `json:"pods"`
	Services netip.Prefix `json:"services"`
	Nodes    []Node       `json:"nodes"`
	// Kubeconfigs are the files that have the cluster's context.
	Kubeconfigs []string `json:"kubeconfigs,omitempty"`
	Extras
	// Ready says that a create came to its end.
	Ready bool `json:"ready"`

	patience time.Duration // of this create
}

// A Node of a cluster. The first is the control plane.
type Node struct {
	Name    string       `json:"name"`
	Index   int          `json:"index"` // from 1
	Address netip.Addr   `json:"address"`
	Pods    netip.Prefix `json:"pods"`
	Machine Handle       `json:"machine,omitempty"`
}

// Control is the node with the control plane.
func (s *Spec) Control() Node { return s.Nodes[0] }

// Server is the address of the API.
func (s *Spec) Server() string { return fmt.Sprintf("https://%s:%d", s.Control().Address, apiPort) }

const apiPort = 6443

// dns is the address of the cluster's name server: the tenth of its services.
func (s *Spec) dns() netip.Addr { return nth(s.Services, 10) }

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// CheckName says whether a cluster can be called so: nodes and a context are
// called after it.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("cluster name %.40q: want lower case letters, digits and hyphens, at most 32, like home", name)
	}
	return nil
}
