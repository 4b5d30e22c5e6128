package recipe

import (
	"fmt"
	"regexp"
	"slices"

	"holdfast/internal/deb"
)

// A Part of an image is a set of packages that becomes a layer of an OCI image.
type Part struct {
	Name     string // what the layer is called in the image's history
	Packages []deb.Pin
}

// base is libc6 and what it depends on, in every Debian release: nearly every
// image has them, so that nearly all images share this layer.
var base = regexp.MustCompile(`^(libc6|libgcc-s1|libcrypt1|gcc-[0-9]+-base)$`)

// Parts splits the lock's packages, each in exactly one part, from what most
// images share to what is this image's own. Within a part the lock's order
// stays, and no part is empty.
//
// By default there are three: libc6 and what it depends on; all that is only
// depended upon; what the recipe names. With Layers there is one for each of
// its lists, and one for the rest.
func (r *Recipe) Parts(l *Lock) ([]Part, error) {
	parts, of := []Part{{Name: "base"}, {Name: "dependencies"}, {Name: "packages"}}, r.defaultPart
	if len(r.Layers) > 0 {
		parts, of = r.ownParts(), r.ownPart
		if err := r.checkLayersIn(l); err != nil {
			return nil, err
		}
	}
	for _, p := range l.Packages {
		part := &parts[of(p.Name)]
		part.Packages = append(part.Packages, p)
	}
	return slices.DeleteFunc(parts, func(p Part) bool { return len(p.Packages) == 0 }), nil
}

func (r *Recipe) defaultPart(name string) int {
	switch {
	case base.MatchString(name):
		return 0
	case !slices.Contains(r.names(r.Packages), name):
		return 1
	}
	return 2
}

func (r *Recipe) ownParts() []Part {
	parts := make([]Part, len(r.Layers)+1)
	for i := range r.Layers {
		parts[i].Name = fmt.Sprintf("layer %d", i+1)
	}
	parts[len(r.Layers)].Name = "packages"
	return parts
}

func (r *Recipe) ownPart(name string) int {
	for i, list := range r.Layers {
		if slices.Contains(list, name) {
			return i
		}
	}
	return len(r.Layers)
}

// checkLayersIn finds names that no package has, which are mistakes.
func (r *Recipe) checkLayersIn(l *Lock) error {
	for _, name := range slices.Concat(r.Layers...) {
		if !slices.ContainsFunc(l.Packages, func(p deb.Pin) bool { return p.Name == name }) {
			return fmt.Errorf("%s: layers: package %s is not in the image", r.path, name)
		}
	}
	return nil
}

// maxLayers is far below what registries and guests take; each layer costs
// every guest a download and a key.
const maxLayers = 16

func (r *Recipe) checkLayers() error {
	if len(r.Layers) > maxLayers {
		return fmt.Errorf("layers: %d lists: want at most %d", len(r.Layers), maxLayers)
	}
	seen := map[string]bool{}
	for _, list := range r.Layers {
		if len(list) == 0 {
			return fmt.Errorf("layers: an empty list: want the names of packages, as [libc6, libgcc-s1]")
		}
		for _, name := range list {
			if err := match(packageForm, "layers", name, "libc6"); err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("layers: %s is named twice", name)
			}
			seen[name] = true
		}
	}
	return nil
}
