package broker

import (
	"maps"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/policy"
)

// known works out how far each image is trusted, and until when that holds.
func (r *rules) known(now time.Time) (images map[string]api.KnownImage, until time.Time) {
	images = map[string]api.KnownImage{}
	for _, s := range r.standings {
		k := judged(s, now)
		for shown := range s.Shows { // also where no values of it are left
			if k.Status != api.ImageTrusted {
				images[shown] = together(images[shown], k)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.references.values)) {
		s := r.standing(id)
		if s.Until != nil && s.Until.After(now) && (until.IsZero() || s.Until.Before(until)) {
			until = *s.Until
		}
		who, ends := r.rebuilds.of(r.references.values[id], now)
		if !ends.IsZero() && (until.IsZero() || ends.Before(until)) {
			until = ends
		}
		for shown := range shows(r.references.values[id]) {
			k := together(images[shown], judged(s, now))
			k.RebuiltBy = who
			if before := images[shown]; len(before.References) > 0 {
				k.RebuiltBy = both(before.RebuiltBy, who)
			}
			k.References = append(images[shown].References, id)
			images[shown] = k
		}
	}
	return images, until
}

// both are those who have rebuilt both of two images that evidence cannot tell
// apart.
func both(x, y []api.Rebuilder) (all []api.Rebuilder) {
	for _, who := range x {
		if slices.Contains(y, who) {
			all = append(all, who)
		}
	}
	return all
}

// together is what two envelopes of one image come to: the one that lasts
// longer holds, and no other envelope mends what was revoked.
func together(before, now api.KnownImage) api.KnownImage {
	if before.Status == api.ImageRevoked || before.Status == api.ImageTrusted && now.Status == api.ImageExpired {
		return before
	}
	return now
}

// standing is what holds for reference values: what the administrator said of
// the image, and the end that the values have themselves.
func (r *rules) standing(id string) api.ImageStanding {
	v := r.references.values[id]
	s, ok := r.standings[identity(id, v)]
	if !ok {
		s = api.ImageStanding{UKI: identity(id, v), Image: v.Image}
	}
	if v.Expires != nil && (s.Until == nil || v.Expires.Before(*s.Until)) {
		s.Until = v.Expires
	}
	return s
}

// identity names the image that values are about.
func identity(id string, v *api.ReferenceValues) string {
	if v.UKI == "" {
		return id
	}
	return v.UKI
}

func judged(s api.ImageStanding, now time.Time) api.KnownImage {
	k := api.KnownImage{Status: api.ImageTrusted, Image: s.Image, UKI: s.UKI}
	switch {
	case s.Revoked != nil:
		k.Status, k.At, k.Reason = api.ImageRevoked, s.Revoked.At.UTC().Format(time.RFC3339), s.Revoked.Reason
	case s.Until != nil && !now.Before(*s.Until):
		k.Status, k.At = api.ImageExpired, s.Until.UTC().Format(time.RFC3339)
	}
	return k
}

// shows are the values by which evidence of each kind tells the image.
func shows(v *api.ReferenceValues) map[string]string {
	all := map[string]string{v.PCRs["11"]: "pcr11"}
	for _, snp := range v.SNP {
		all[snp.Measurement] = "snp measurement"
	}
	for _, tdx := range v.TDX {
		all[tdx.RTMRs["2"]] = "tdx rtmr_2"
	}
	delete(all, "")
	return all
}

// build makes what policies are given of the rules.
func (r *rules) build(now time.Time) error {
	if r.rebuilds.by == nil {
		r.rebuilds.check()
	}
	images, until := r.known(now)
	r.images, r.built, r.until, r.narrowed = images, now, until, &narrowed{}
	r.trusted = references{map[string]*api.ReferenceValues{}, r.references.envelopes}
	for id, v := range r.references.values {
		if judged(r.standing(id), now).Status == api.ImageTrusted {
			r.trusted.values[id] = v
		}
	}
	var err error
	r.data, err = policy.NewData(map[string]any{
		"reference": r.trusted.values, "images": images, "configurations": r.configurations,
		"reference_values": r.named(), "requirements": r.rebuilds.required,
		"attestation_keys": r.keys.names(),
	})
	r.memory = policy.Remember(r.data)
	return err
}

// named are values by name: those of images, and those that an administrator
// set, which count more.
func (r *rules) named() map[string]any {
	all := map[string]any{}
	for name, list := range named(r.trusted.values) {
		all[name] = list
	}
	for name, value := range r.values {
		all[name] = value
	}
	return all
}

// stale tells whether time alone has changed what the rules say.
func (r *rules) stale(now time.Time) bool {
	return r.data == nil || now.Before(r.built) || !r.until.IsZero() && !now.Before(r.until)
}

// named are the values of images under the names by which the default policy of
// Trustee's attestation service asks for them.
func named(values map[string]*api.ReferenceValues) map[string][]string {
	all := map[string][]string{}
	add := func(name, value string) {
		if value != "" && !slices.Contains(all[name], value) {
			all[name] = append(all[name], value)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(values)) {
		v := values[id]
		for _, name := range []string{"tpm_pcr11", "snp_pcr11", "tdx_pcr11"} {
			add(name, v.PCRs["11"])
		}
		for _, snp := range v.SNP {
			add("snp_launch_measurement", snp.Measurement)
		}
		for _, tdx := range v.TDX {
			add("mr_td", tdx.MRTD)
			add("rtmr_1", tdx.RTMRs["1"])
			add("rtmr_2", tdx.RTMRs["2"])
		}
	}
	return all
}

// shown are the images that claims show: whatever kind of evidence they come
// from, one of their values is the image's.
func (r *rules) shown(claims map[string]any) (images []string) {
	return among(claims, func(v string) bool { _, ok := r.images[v]; return ok })
}

// among are the claims, of whatever depth, that are one of those.
func among(claims map[string]any, those func(string) bool) (found []string) {
	for _, v := range claims {
		switch v := v.(type) {
		case string:
			if those(v) {
				found = append(found, v)
			}
		case map[string]any:
			found = append(found, among(v, those)...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
