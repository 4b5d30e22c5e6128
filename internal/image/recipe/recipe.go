// Package recipe holds what a person writes of a tree, and the same pinned.
//
// A recipe says what an image is made of; its lock names every package by
// hash. The lock alone decides the bytes: no clock, host or mirror does.
package recipe

import "strings"

// A Recipe is a recipe.yaml. docs/formats/recipe.md is its reference.
type Recipe struct {
	Name         string      `yaml:"name"`
	Suite        string      `yaml:"suite"`
	Architecture string      `yaml:"architecture"`
	Mirror       string      `yaml:"mirror,omitempty"`
	Packages     []string    `yaml:"packages"`
	Exclude      []string    `yaml:"exclude,omitempty"`
	Users        []User      `yaml:"users,omitempty"`
	Groups       []Group     `yaml:"groups,omitempty"`
	Directories  []Directory `yaml:"directories,omitempty"`
	Files        []File      `yaml:"files,omitempty"`
	Links        []Link      `yaml:"links,omitempty"`
	Remove       []string    `yaml:"remove,omitempty"`
	Layers       [][]string  `yaml:"layers,omitempty"` // names of packages; see Parts
	Programs     []Program   `yaml:"programs,omitempty"`
	OCI          *OCI        `yaml:"oci,omitempty"`
	Machine      *Machine    `yaml:"machine,omitempty"`

	path string // of the file it was read from
	own  string // its architecture there
}

// A User is a line of /etc/passwd.
type User struct {
	Name  string `yaml:"name"`
	UID   int    `yaml:"uid"`
	GID   int    `yaml:"gid"`
	Home  string `yaml:"home,omitempty"`  // by default /nonexistent
	Shell string `yaml:"shell,omitempty"` // by default /usr/sbin/nologin
}

// A Group is a line of /etc/group.
type Group struct {
	Name string `yaml:"name"`
	GID  int    `yaml:"gid"`
}

// A Directory is made, or given this mode and owner when a package made it.
type Directory struct {
	Path  string `yaml:"path"`
	Mode  Mode   `yaml:"mode,omitempty"`  // by default 0755
	Owner string `yaml:"owner,omitempty"` // by default root
	Group string `yaml:"group,omitempty"` // by default root
}

// A File is written over whatever packages put there. It has a Content or a
// Source, a file beside the recipe.
type File struct {
	Path    string  `yaml:"path"`
	Content *string `yaml:"content,omitempty"`
	Source  string  `yaml:"source,omitempty"`
	Mode    Mode    `yaml:"mode,omitempty"` // by default 0644
	Owner   string  `yaml:"owner,omitempty"`
	Group   string  `yaml:"group,omitempty"`
}

// A Link is a symbolic link.
type Link struct {
	Path   string `yaml:"path"`
	Target string `yaml:"target"`
}

// A Program is built with Go: Package of Module, which is "." for the module
// that holds the recipe, "./folder" for one in a folder of that, or
// module@version.
type Program struct {
	Module  string `yaml:"module"`
	Package string `yaml:"package"`
	Path    string `yaml:"path"`
	Mode    Mode   `yaml:"mode,omitempty"` // by default 0755
}

// OCI is what an image's config says of running it.
type OCI struct {
	Entrypoint []string          `yaml:"entrypoint,omitempty"`
	Cmd        []string          `yaml:"cmd,omitempty"`
	Env        []string          `yaml:"env,omitempty"`
	User       string            `yaml:"user,omitempty"`
	Workdir    string            `yaml:"workdir,omitempty"`
	Ports      []string          `yaml:"ports,omitempty"`
	Labels     map[string]string `yaml:"labels,omitempty"`
}

// Machine is what a machine image needs beside its tree.
type Machine struct {
	Kernel  string   `yaml:"kernel"`
	Stub    string   `yaml:"stub"`
	Modules []string `yaml:"modules,omitempty"`
	Init    Init     `yaml:"init"`
	Cmdline string   `yaml:"cmdline,omitempty"`
}

// Init is the program that becomes process 1; see Program.
type Init struct {
	Module  string `yaml:"module"`
	Package string `yaml:"package"`
}

// Mode is permission bits as chmod takes them, up to 07777. In YAML it is
// octal however it is written: 0750, 750 and "0750" are the same.
type Mode uint32

// IsLocal tells a module that is found beside the recipe from one at a version.
func IsLocal(module string) bool { return strings.HasPrefix(module, ".") }

// Modules are those that the recipe's Go programs come from.
func (r *Recipe) Modules() []string {
	var list []string
	for _, p := range r.Programs {
		list = append(list, p.Module)
	}
	if r.Machine != nil {
		list = append(list, r.Machine.Init.Module)
	}
	return list
}
