package broker

import (
	"maps"
	"slices"

	"holdfast/internal/api"
)

// images tells policies what is known of images by what evidence shows of them:
// the value of PCR 11.
func (r references) images() map[string]api.KnownImage {
	all := map[string]api.KnownImage{}
	for _, id := range slices.Sorted(maps.Keys(r.values)) {
		v := r.values[id]
		shown := v.PCRs["11"]
		known := all[shown]
		known.Status, known.Image, known.UKI = api.ImageTrusted, v.Image, v.UKI
		known.References = append(known.References, id)
		all[shown] = known
	}
	return all
}

// onlyImage is the one that claims show.
func onlyImage(all any, shown any) map[string]api.KnownImage {
	one := map[string]api.KnownImage{}
	images, _ := all.(map[string]api.KnownImage)
	name, _ := shown.(string)
	if known, ok := images[name]; ok {
		one[name] = known
	}
	return one
}
