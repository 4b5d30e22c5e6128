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
		for _, shown := range shownOf(v) {
			known := all[shown]
			known.Status, known.Image, known.UKI = api.ImageTrusted, v.Image, v.UKI
			known.References = append(known.References, id)
			all[shown] = known
		}
	}
	return all
}

// shownOf is what evidence shows of an image: PCR 11, the launch measurement
// under SNP, MRTD with RTMR 1 and 2 under TDX. Each once.
func shownOf(v *api.ReferenceValues) []string {
	var all []string
	if pcr := v.PCRs["11"]; pcr != "" {
		all = append(all, pcr)
	}
	for _, way := range v.SNP {
		all = append(all, way.Measurement)
	}
	for _, way := range v.TDX {
		all = append(all, way.MRTD+" "+way.RTMRs["1"]+" "+way.RTMRs["2"])
	}
	slices.Sort(all)
	return slices.Compact(all)
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
