package api

import "net/netip"

// ContainerWord is the first word of holdfast-node as process 1 of a container
// machine.
const ContainerWord = "container"

// CertifyWord is the first word of holdfast-node as the service that approves
// kubelets' certificates and renews others: a kubeconfig, a list of nodes, the folder of
// authorities and those of certificates follow.
const CertifyWord = "certify"

// A ContainerMachine is all that process 1 of a container machine is told, as
// JSON on descriptor 3, once the host has made what it needs: its cgroups and
// its link. A pipe that ends without it ends the machine.
//
// Process 1 answers on descriptor 4: nothing when its services are under way, or
// why not.
type ContainerMachine struct {
	Hostname string `json:"hostname"`
	// Tree is the folder of the node image; it is never written. Mount is an
	// empty folder, over which the machine alone mounts things.
	Tree  string `json:"tree"`
	Mount string `json:"mount"`
	Binds []Bind `json:"binds,omitempty"`
	// Cgroups says how the host's control groups are mounted: 1 or 2.
	Cgroups int `json:"cgroups"`
	// Controllers are the hierarchies of version 1, as "cpu" or "name=systemd",
	// by the folder that each has.
	Controllers map[string]string `json:"controllers,omitempty"`
	Link        ContainerLink     `json:"link"`
	Resolvers   []netip.Addr      `json:"resolvers"`
	Hosts       []Host            `json:"hosts,omitempty"` // lines of /etc/hosts
	// Relays carry connections to a port of the machine's loopback to a socket
	// of the host that a bind brings in.
	Relays   []Relay   `json:"relays,omitempty"`
	Services []Service `json:"services"`
}

// A Bind is a file or a folder of the host that a machine has.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Writable bool   `json:"writable,omitempty"`
}

// A ContainerLink is the machine's place on its bridge.
type ContainerLink struct {
	Name    string       `json:"name"` // eth0
	Address netip.Prefix `json:"address"`
	Gateway netip.Addr   `json:"gateway"`
	Routes  []Route      `json:"routes,omitempty"`
}

// A Route leads to a network by way of a neighbour.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
}

// A Host is a name and its address.
type Host struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

// A Relay listens on a port of the machine's loopback.
type Relay struct {
	Port   uint16 `json:"port"`
	Socket string `json:"socket"` // path in the machine
}

// A Service is a program that process 1 keeps running, or runs to its end once.
type Service struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	// After names those that must have started before: have said so, where they
	// Notify, as sd_notify(3) has it, or have ended well, where they run Once.
	After  []string `json:"after,omitempty"`
	Notify bool     `json:"notify,omitempty"`
	// Once says that it ends by itself; it is run again only when it fails.
	Once bool `json:"once,omitempty"`
	// KeepChildren leaves alone what it started when it ends.
	KeepChildren bool `json:"keep_children,omitempty"`
}
