package broker

import (
	"maps"
	"slices"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// images tells policies what is known of images by what evidence shows of them.
func (r references) images() map[string]api.KnownImage {
	all := map[string]api.KnownImage{}
	for _, id := range slices.Sorted(maps.Keys(r.values)) {
		v := r.values[id]
		for shown := range shows(v) {
			known := all[shown]
			known.Status, known.Image, known.UKI = api.ImageTrusted, v.Image, v.UKI
			known.References = append(known.References, id)
			all[shown] = known
		}
	}
	return all
}

// shows are the values by which evidence of each kind tells the image.
func shows(v *api.ReferenceValues) map[string]bool {
	all := map[string]bool{v.PCRs["11"]: true}
	for _, snp := range v.SNP {
		all[snp.Measurement] = true
	}
	for _, tdx := range v.TDX {
		all[tdx.RTMRs["2"]] = true
	}
	delete(all, "")
	return all
}

// shownImages are those of all that claims show: whatever kind of evidence they
// come from, one of their values is the image's.
func shownImages(all any, claims any) map[string]api.KnownImage {
	few := map[string]api.KnownImage{}
	images, _ := all.(map[string]api.KnownImage)
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case string:
			if known, ok := images[v]; ok {
				few[v] = known
			}
		case attest.Claims:
			visit(map[string]any(v))
		case map[string]any:
			for _, member := range v {
				visit(member)
			}
		}
	}
	visit(claims)
	return few
}

// of are the reference values of images.
func (r references) of(images map[string]api.KnownImage) map[string]*api.ReferenceValues {
	few := map[string]*api.ReferenceValues{}
	for _, known := range images {
		for _, id := range known.References {
			if v, ok := r.values[id]; ok {
				few[id] = v
			}
		}
	}
	return few
}
