package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Log is what a service of a node said; the machine's own without a service.
type Log struct {
	Node     string
	Path     string
	Services []string // that have said something
	// Running says whether the node still does.
	Running func() bool
}

// Log finds what a service of a node said; without a name, the first node's.
func (f *Fleet) Log(name, node, service string) (*Log, error) {
	s, err := f.load(name)
	if err != nil {
		return nil, err
	}
	n, err := s.node(node)
	if err != nil {
		return nil, err
	}
	dir := f.nodeDir(name, n.Name)
	logs, err := filepath.Glob(filepath.Join(dir, "var/log/holdfast/*.log"))
	if err != nil {
		return nil, err
	}
	l := &Log{Node: n.Name, Path: filepath.Join(dir, "machine.log"), Running: func() bool {
		alive, err := f.Machines.Alive(n.Machine)
		return alive && err == nil
	}}
	for _, path := range logs {
		l.Services = append(l.Services, strings.TrimSuffix(filepath.Base(path), ".log"))
	}
	if service != "" {
		l.Path = filepath.Join(dir, "var/log/holdfast", filepath.Base(service)+".log")
	}
	if _, err := os.Stat(l.Path); err != nil {
		return nil, fmt.Errorf("node %s has no service %.40q: it has %s", n.Name, service, strings.Join(l.Services, ", "))
	}
	return l, nil
}
