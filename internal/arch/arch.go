// Package arch knows the layers of Holdfast and which way imports go.
//
// Imports go down only, services never import one another, and the test here
// holds the whole tree to it by reading the sources themselves.
package arch

import (
	"fmt"
	"strings"
)

// A Layer is a set of packages that may import the layers below it.
type Layer struct {
	Name     string
	Packages []string // the first path element below internal/
	// Apart says that its packages never import one another.
	Apart bool
	// Pure forbids disk and network; Plain allows the standard library only.
	Pure, Plain bool
}

// Layers, from the top.
var Layers = []Layer{
	{Name: "face", Packages: []string{"cli", "web"}},
	{Name: "wiring", Packages: []string{"attack", "wiring"}},
	{Name: "services", Apart: true, Packages: []string{
		"image", "machine", "node", "guest", "broker", "registry", "peer", "gateway", "cluster"}},
	{Name: "mechanisms", Packages: []string{
		"deb", "blob", "attest", "boot", "ignition", "enc", "swtpm", "devmapper", "egress", "keys", "proof", "journal", "resume",
		"access", "form", "login", "upstream", "cosign", "rebuilt", "seal", "hsm", "ca", "keyprovider", "gocmd", "supervise", "chip"}},
	{Name: "vocabulary", Pure: true, Packages: []string{"oci", "did", "sign", "policy", "api"}},
	{Name: "ground", Plain: true, Packages: []string{"ahead", "atomicfile", "input", "progress", "nearest", "arch", "follow", "plainjson"}},
}

// layerOf finds the layer of a package path below internal/.
func layerOf(pkg string) (int, error) {
	first, _, _ := strings.Cut(pkg, "/")
	for i, l := range Layers {
		for _, p := range l.Packages {
			if p == first {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("internal/%s belongs to no layer: name it in internal/arch", pkg)
}

// CheckImport says whether package from may import path. Both packages of
// this module are given below internal/; others by their full path.
func CheckImport(from, path string) error {
	at, err := layerOf(from)
	if err != nil {
		return err
	}
	inside, ok := strings.CutPrefix(path, "holdfast/internal/")
	if !ok {
		return checkOutside(from, path, Layers[at])
	}
	to, err := layerOf(inside)
	if err != nil {
		return err
	}
	return checkInside(from, inside, at, to)
}

func checkInside(from, to string, at, below int) error {
	own, _, _ := strings.Cut(from, "/")
	other, _, _ := strings.Cut(to, "/")
	switch {
	case below < at:
		return fmt.Errorf("%s (%s) imports %s (%s): imports go down only", from, Layers[at].Name, to, Layers[below].Name)
	case below == at && own != other && Layers[at].Apart:
		return fmt.Errorf("%s imports %s: services never import one another", from, to)
	}
	return nil
}

func checkOutside(from, path string, l Layer) error {
	first, _, _ := strings.Cut(path, "/")
	switch {
	case l.Plain && strings.Contains(first, "."):
		return fmt.Errorf("%s imports %s: %s uses the standard library only", from, path, l.Name)
	case l.Pure && (path == "os" || path == "net" || path == "net/http"):
		return fmt.Errorf("%s imports %s: %s touches neither disk nor network", from, path, l.Name)
	case path == "github.com/spf13/cobra" && from != "cli":
		return fmt.Errorf("%s imports %s: only cli knows the flag library", from, path)
	}
	return nil
}
